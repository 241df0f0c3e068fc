"""Tells the cluster which Pods have work, before a function is scaled down: those with the fewest calls go first.

The annotation is Kubernetes's own (`controller.kubernetes.io/pod-deletion-cost`, reference of labels and annotations). The
cluster goes by it only among Pods that are ready alike, and never promises to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.view.state import State

COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_AT_ONCE: Final = 8
"""Pods that are written to side by side."""

_log = structlog.get_logger("hilbert.kubernetes")


async def rank_pods(api: Api, state: State, key: Key, busy: Mapping[str, int], replicas: int) -> None:
    """Where `replicas` is less than there are: write to each Pod of a function how many calls it has, by its address in `busy`.

    A Pod that cannot be written to is left as it is: the count is lowered all the same.
    """
    live = state.deployment(key)
    if live is None or replicas >= live.replicas:
        return
    addresses = {endpoint.replica: endpoint.address for endpoint in state.endpoints(key)}
    places = asyncio.Semaphore(_AT_ONCE)

    async def write(name: str, cost: str) -> None:
        async with places:
            try:
                await api.adjust(kinds.PODS, name, {"metadata": {"annotations": {COST: cost}}}, key[0])
            except (Refused, Unreachable) as exc:
                _log.info("a Pod's calls are not known to the cluster", pod=f"{key[0]}/{name}", reason=str(exc))

    changes = [
        (pod.metadata.name, cost)
        for pod in state.pods(key)
        if (cost := str(busy.get(addresses.get(pod.metadata.name, ""), 0))) != pod.annotations.get(COST, "0")
    ]
    await asyncio.gather(*(write(name, cost) for name, cost in changes))
