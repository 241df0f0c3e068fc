"""What the REST API counts of itself: requests by method, route and status, and how long they took."""

from __future__ import annotations

import time
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
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


class Counted:
    """ASGI middleware that counts every request."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            # The router leaves the pattern that matched in the scope; what it never saw has none.
            path = scope.get("path_template") or "other"
            self._traffic.count(scope["method"], path, status, time.monotonic() - started)
