"""What the REST API counts of itself: requests by method, route and status, and how long they took."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS: Final = ("method", "path", "status")

# Otherwise the library adds a series with the time of its making to every series.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it out


class Traffic:
    """Counters in a registry of their own. Paths are route patterns, so that strangers cannot make up label values."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter("http_requests", "Requests to the REST API.", _LABELS, registry=self.registry)
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request to the REST API to the end of its answer.",
            _LABELS,
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        labels = (method if method in _METHODS else "other", path, str(status))
        self._requests.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seconds)
