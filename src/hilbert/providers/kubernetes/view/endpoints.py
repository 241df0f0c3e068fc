"""From EndpointSlices to endpoints: the addresses of a function's Pods that take calls now. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Iterator, Sequence

from hilbert.core.model import Endpoint
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.objects import EndpointSlice, Pod, SliceEndpoint


def collect(slices: Iterable[EndpointSlice], alive: Container[str]) -> tuple[Endpoint, ...]:
    """Ready Pods among `alive` (UIDs of the function's Pods that are not being deleted), by name.

    Slices are written by anybody with rights in the namespace; only addresses of the function's own Pods are called.
    A Pod with addresses of both families is called at its IPv4 one.
    """
    found: dict[str, tuple[int, Endpoint]] = {}
    for item in slices:
        port = next((p.port for p in item.ports or () if p.name in ("http", None, "") and p.port), None)
        if port is None:
            continue
        for endpoint in item.endpoints or ():
            target = endpoint.target_ref
            if not _is_ready(endpoint) or target is None or target.kind != "Pod" or target.uid not in alive:
                continue
            for version, host in _hosts(endpoint):
                if target.uid not in found or found[target.uid][0] > version:
                    found[target.uid] = (version, Endpoint(target.name, f"tcp:{host}:{port}"))
    return tuple(sorted((endpoint for _, endpoint in found.values()), key=lambda endpoint: endpoint.replica))


def ready_uids(item: EndpointSlice) -> set[str]:
    """UIDs of the Pods that a slice lists as ready."""
    return {
        endpoint.target_ref.uid
        for endpoint in item.endpoints or ()
        if endpoint.target_ref is not None and _is_ready(endpoint)
    }


def own_address(pod: Pod) -> str | None:
    """Where a Pod would take calls, by its own status."""
    return next((f"tcp:{host}:{names.FUNCTION_PORT}" for _, host in _parsed(pod.status.pod_ip)), None)


def with_answered(ready: Sequence[Endpoint], answered: Iterable[Pod]) -> tuple[Endpoint, ...]:
    """And Pods that have answered the gateway, but are not listed as ready yet."""
    found = {endpoint.replica: endpoint for endpoint in ready}
    for pod in answered:
        if pod.metadata.name not in found and (address := own_address(pod)) is not None:
            found[pod.metadata.name] = Endpoint(pod.metadata.name, address)
    return tuple(found[name] for name in sorted(found))


def restarts(pod: Pod) -> int:
    """How often its containers have been started anew; -1 where one has ended."""
    statuses = pod.status.container_statuses or ()
    if any(status.state.terminated is not None for status in statuses):
        return -1
    return sum(status.restart_count for status in statuses)


def _is_ready(endpoint: SliceEndpoint) -> bool:
    """A missing `ready` means ready, says the API."""
    return endpoint.conditions.ready is not False and not endpoint.conditions.terminating


def _hosts(endpoint: SliceEndpoint) -> Iterator[tuple[int, str]]:
    """The first address counts, says the API; host names are passed over."""
    for text in endpoint.addresses[:1]:
        yield from _parsed(text)


def _parsed(text: str) -> Iterator[tuple[int, str]]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return
    yield address.version, str(address) if address.version == 4 else f"[{address}]"
