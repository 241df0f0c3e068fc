"""The part of `/metrics` about queued calls and schedules: OpenFaaS's names, and `hilbert_` ones."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from hilbert.api.services import Services
from hilbert.control.delivery.outcomes import WORDS
from hilbert.control.schedules.firing import Firing, lateness_classes
from hilbert.core.errors import HilbertError
from hilbert.core.ports.queue import QueueCounts, RemoteQueue

QUEUE_NAME: Final = "faas-request"
"""OpenFaaS's name of the queue that there is without others."""

_OF_FUNCTION: Final = ("queue_name", "function_name")
_OF_WORKER: Final = ("queue_name", "kubernetes_pod_name")

_log = structlog.get_logger("hilbert.metrics")


async def queue_families(services: Services) -> Sequence[Metric]:
    """Nothing where there is no queue; without counts when it does not answer."""
    if services.intake is None:
        return []
    try:
        counts = await services.intake.queue.counts()
    except HilbertError as exc:
        _log.warning("queued calls not counted", reason=exc.message, detail=exc.detail)
        counts = []
    found = [*_counts(counts), *_outcomes(services), *(_schedules(services.firing) if services.firing else ())]
    if isinstance(services.intake.queue, RemoteQueue):
        told = "Connections to NATS that were lost and made again."
        found.append(CounterMetricFamily("queue_worker_nats_reconnect", told, value=services.intake.queue.reconnects))
    return found


def _counts(counts: Sequence[QueueCounts]) -> Iterable[Metric]:
    pending = GaugeMetricFamily("queue_worker_pending_messages", "Queued calls that wait.", labels=_OF_FUNCTION)
    inflight = GaugeMetricFamily(
        "queue_worker_function_invocation_inflight", "Queued calls under way.", labels=_OF_FUNCTION
    )
    dead = GaugeMetricFamily(
        "hilbert_queue_dead_letters", "Queued calls that were given up.", labels=("function_name",)
    )
    size = GaugeMetricFamily(
        "hilbert_queue_bytes", "Bytes of the requests and answers that are kept.", labels=("function_name",)
    )
    drift = 0
    for entry in counts:
        name = str(entry.ref)
        pending.add_metric([QUEUE_NAME, name], entry.queued)
        inflight.add_metric([QUEUE_NAME, name], entry.running)
        dead.add_metric([name], entry.dead)
        size.add_metric([name], entry.size)
        drift += abs(entry.accepted - entry.queued - entry.running - entry.finished - entry.dead - entry.forgotten)
    lost = GaugeMetricFamily("hilbert_queue_drift", "Accepted calls that are in no known state; always 0.", value=drift)
    return pending, inflight, dead, size, lost


def _outcomes(services: Services) -> Iterable[Metric]:
    worker = [QUEUE_NAME, socket.gethostname()]
    fired = sum(services.firing.lateness.values()) if services.firing is not None else 0
    submitted = CounterMetricFamily("queue_worker_messages_submitted", "Calls that were queued.", labels=_OF_WORKER)
    submitted.add_metric(worker, (services.intake.submitted if services.intake is not None else 0) + fired)
    processed = CounterMetricFamily(
        "queue_worker_messages_processed", "Queued calls that have ended.", labels=_OF_WORKER
    )
    attempts = CounterMetricFamily("hilbert_queue_attempts", "Attempts at queued calls.", labels=("outcome",))
    if services.dispatcher is not None:
        totals = services.dispatcher.outcomes.totals
        processed.add_metric(worker, totals["succeeded"] + totals["failed"] + totals["dead"])
        for word in WORDS:
            attempts.add_metric([word], totals[word])
    return submitted, processed, attempts


def _schedules(firing: Firing) -> Iterable[Metric]:
    ticks = CounterMetricFamily("hilbert_schedule_ticks", "Ticks of schedules.", labels=("function_name", "outcome"))
    for (ref, outcome), count in firing.ticks.items():
        ticks.add_metric([str(ref), outcome], count)
    late = HistogramMetricFamily("hilbert_schedule_lateness_seconds", "From a tick until its call is queued.")
    late.add_metric([], list(lateness_classes(firing.lateness)), firing.late_seconds)
    return ticks, late
