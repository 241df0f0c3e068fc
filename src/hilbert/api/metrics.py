"""`/metrics` for Prometheus, on a port of its own and without a password: OpenFaaS's names, and `hilbert_` ones.

Nothing is kept here: each scrape asks the provider for its functions and reads the totals of the data plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hilbert.api.asgi import App, Receive, Scope, Send
from hilbert.api.limits import LogUses, log_uses, of_logs, of_tenant
from hilbert.api.queue_metrics import queue_families
from hilbert.api.services import Services
from hilbert.control.call_counts import CallTotals
from hilbert.core.errors import HilbertError
from hilbert.core.limits import PREFIX, RATE
from hilbert.core.model import FunctionStatus, Namespace, Phase, ScalingPolicy
from hilbert.wire.limits import LimitStatus

_log = structlog.get_logger("hilbert.metrics")

_FUNCTION: Final = ("function_name",)
_FUNCTION_CODE: Final = ("function_name", "code")
_WORKER: Final = ("worker",)


def create_metrics_app(services: Services) -> App:
    """`GET /metrics` and `GET /healthz`; other methods get 405, other paths 404."""

    async def metrics(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] not in ("/metrics", "/healthz"):
            await _answer(send, 404, "text/plain; charset=utf-8", b"404 page not found\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "text/plain; charset=utf-8", b"")
        elif scope["path"] == "/healthz":
            await _answer(send, 200, "text/plain; charset=utf-8", b"OK", hide=scope["method"] == "HEAD")
        else:
            page = await exposition(services)
            await _answer(send, 200, CONTENT_TYPE_PLAIN_0_0_4, page, hide=scope["method"] == "HEAD")

    return metrics


async def exposition(services: Services) -> bytes:
    """The whole page. When the provider does not answer, what it would have told is missing and `hilbert_up` is 0."""
    namespaces, statuses, up = await _statuses(services)
    logs = await log_uses(services.provider)
    snapshot = _Snapshot(
        [
            *_calls(services.totals),
            *_functions(statuses),
            *_scaling(services),
            *_limits(services, _standing_limits(services, namespaces, statuses, logs)),
            *_data_plane(services.totals),
            *await queue_families(services),
            *_platform(services, statuses, up=up),
        ]
    )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(snapshot)
    # Ten thousand functions make a page that takes a quarter of a second to write: meanwhile the API goes on.
    return await asyncio.to_thread(generate_latest, registry) + generate_latest(services.traffic.registry)


async def _statuses(services: Services) -> tuple[Sequence[Namespace], list[FunctionStatus], bool]:
    namespaces: Sequence[Namespace] = ()
    found: list[FunctionStatus] = []
    try:
        namespaces = await services.tenancy.list_all()
        for namespace in namespaces:
            found += await services.provider.list(namespace.name)
            await asyncio.sleep(0)  # Others' requests have their turn between two namespaces.
    except HilbertError as exc:
        _log.warning("functions not counted", reason=exc.message, detail=exc.detail)
        return namespaces, found, False
    return namespaces, found, True


def _calls(totals: CallTotals) -> Iterable[Metric]:
    """What the workers counted, by function and status code."""
    seconds = HistogramMetricFamily("gateway_functions_seconds", "Duration of calls.", labels=_FUNCTION_CODE)
    finished = CounterMetricFamily("gateway_function_invocation", "Finished calls.", labels=_FUNCTION_CODE)
    # OpenFaaS's name lacks the suffix that makes a counter of it for the library.
    started = Metric("gateway_function_invocation_started", "Calls that began; only grows.", "untyped")
    inflight = GaugeMetricFamily("gateway_function_invocation_inflight", "Calls under way.", labels=_FUNCTION)
    waiting = GaugeMetricFamily("hilbert_calls_waiting", "Calls that wait for a replica.", labels=_FUNCTION)
    cold = CounterMetricFamily("hilbert_cold_starts", "Calls that found their function at zero.", labels=_FUNCTION)
    retries = CounterMetricFamily("hilbert_call_retries", "Calls given to a second replica.", labels=_FUNCTION)
    for ref, function in totals.functions().items():
        name = str(ref)
        started.add_sample(started.name, {"function_name": name}, function.started)
        inflight.add_metric([name], function.inflight)
        waiting.add_metric([name], function.waiting)
        cold.add_metric([name], function.cold_starts)
        retries.add_metric([name], function.retries)
        for code, calls in function.codes.items():
            finished.add_metric([name, str(code)], calls.count)
            buckets = [(str(bound), float(count)) for bound, count in zip(totals.bounds, calls.buckets, strict=True)]
            seconds.add_metric([name, str(code)], [*buckets, ("+Inf", float(calls.count))], calls.seconds)
    return seconds, finished, started, inflight, waiting, cold, retries


def _functions(statuses: Sequence[FunctionStatus]) -> Iterable[Metric]:
    """What the provider says of each function."""
    desired = GaugeMetricFamily("gateway_service_count", "Desired replicas.", labels=_FUNCTION)
    ready = GaugeMetricFamily("gateway_service_ready_count", "Replicas that can be called.", labels=_FUNCTION)
    least = GaugeMetricFamily("gateway_service_min", "Minimum number of replicas while not at zero.", labels=_FUNCTION)
    for status in statuses:
        name = str(status.spec.ref)
        desired.add_metric([name], status.replicas)
        ready.add_metric([name], status.available)
        least.add_metric([name], ScalingPolicy.of(status.spec.labels).min)
    return desired, ready, least


def _scaling(services: Services) -> Iterable[Metric]:
    """What functions scale by: OpenFaaS's recording rules select functions by the first of these."""
    target = GaugeMetricFamily(
        "gateway_service_target_load", "Load for one replica.", labels=("function_name", "scaling_type")
    )
    load = GaugeMetricFamily("hilbert_scaling_load", "Load by which a function was last scaled.", labels=_FUNCTION)
    wanted = GaugeMetricFamily("hilbert_scaling_wanted", "Replicas that its load asks for.", labels=_FUNCTION)
    scaler = services.scaler
    for ref, state in scaler.policies() if scaler is not None else ():
        policy, decision = state.policy, state.decision
        if policy.by_load:
            target.add_metric([str(ref), policy.kind], policy.target)
        if decision is not None and decision.load is not None and decision.wanted is not None:
            load.add_metric([str(ref)], decision.load)
            wanted.add_metric([str(ref)], decision.wanted)
    changes = CounterMetricFamily(
        "hilbert_scaling_changes",
        "Changes of the number of replicas by scaling.",
        value=scaler.changes if scaler is not None else 0,
    )
    return target, load, wanted, changes


def _standing_limits(
    services: Services, namespaces: Sequence[Namespace], statuses: Sequence[FunctionStatus], logs: LogUses
) -> Iterable[LimitStatus]:
    """Limits of what is not counted by the workers: they are told as long as they are set."""
    for namespace in namespaces:
        if _has_limits(namespace.annotations):
            yield from of_tenant(services, namespace)
            yield from of_logs((str(namespace.name), ""), namespace.annotations, logs)
    for status in statuses:
        spec = status.spec
        if _has_limits(spec.annotations):
            yield from of_logs((str(spec.ref.namespace), str(spec.ref.name)), spec.annotations, logs)


def _has_limits(annotations: Mapping[str, str]) -> bool:
    return any(key.startswith(PREFIX) for key in annotations)


def _limits(services: Services, standing: Iterable[LimitStatus]) -> Iterable[Metric]:
    """Of scopes that were called within the last minute, and of `standing`."""
    labels = ("namespace", "function", "limit")
    most = GaugeMetricFamily("hilbert_limit", "A limit that is set, in its unit.", labels=labels)
    used = GaugeMetricFamily("hilbert_limit_used", "How much there is now of what is limited.", labels=labels)
    refused = CounterMetricFamily(
        "hilbert_limit_refused", "Calls and changes refused by a limit, and waits for it.", labels=labels
    )
    for (namespace, name), use in services.limits.uses().items() if services.limits is not None else ():
        if use.limits.rate:
            most.add_metric([namespace, name, RATE], use.limits.rate)
            used.add_metric([namespace, name, RATE], use.rate)
            refused.add_metric([namespace, name, RATE], use.refused.get(RATE, 0))
        for kind, value in use.limits.places().items():
            most.add_metric([namespace, name, kind], value)
            used.add_metric([namespace, name, kind], use.used.get(kind, 0))
            refused.add_metric([namespace, name, kind], use.refused.get(kind, 0))
    for limit in standing:
        scope = [limit.namespace, limit.function, limit.limit]
        most.add_metric(scope, limit.value)
        if limit.used is not None:
            used.add_metric(scope, limit.used)
            refused.add_metric(scope, limit.refused)
    return most, used, refused


def _data_plane(totals: CallTotals) -> Iterable[Metric]:
    version = GaugeMetricFamily("hilbert_route_table_version", "Version of a worker's table.", labels=_WORKER)
    size = GaugeMetricFamily("hilbert_route_table_size", "Functions in a worker's table.", labels=_WORKER)
    connections = GaugeMetricFamily("hilbert_client_connections", "Open connections of clients.", labels=_WORKER)
    drift = CounterMetricFamily(
        "hilbert_route_drift", "How often a worker's table was found to differ.", value=totals.route_drift
    )
    workers = totals.workers()
    for name, worker in workers.items():
        version.add_metric([name], worker.table_version)
        size.add_metric([name], worker.table_size)
        connections.add_metric([name], worker.connections)
    count = GaugeMetricFamily("hilbert_workers", "Workers that are connected.", value=len(workers))
    return version, size, connections, drift, count


def _platform(services: Services, statuses: Sequence[FunctionStatus], *, up: bool) -> Iterable[Metric]:
    phases = GaugeMetricFamily("hilbert_functions", "Functions by what they do now.", labels=("phase",))
    for phase in Phase:
        phases.add_metric([phase.value], sum(status.phase is phase for status in statuses))
    wakes = services.activation.woken if services.activation is not None else 0
    woken = CounterMetricFamily("hilbert_wakes", "How often a function was started from zero.", value=wakes)
    build = GaugeMetricFamily("hilbert_build_info", "Always 1.", labels=("release", "commit", "provider"))
    build.add_metric([services.release, services.commit, services.provider.name], 1)
    answers = GaugeMetricFamily("hilbert_up", "1 if the provider answers.", value=1 if up else 0)
    return phases, woken, build, answers


class _Snapshot:
    """Families that are ready, as the library wants them: from a collector."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _answer(send: Send, status: int, kind: str, body: bytes, *, hide: bool = False) -> None:
    head = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": b"" if hide else body, "more_body": False})
