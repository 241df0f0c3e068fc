"""What each kind of provider keeps and returns, as OpenFaaS does, and does not act on. Pure; a sentence for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.keys import SETTABLE, Key, Place, placed
from hilbert.core.model import (
    ANNOTATION_ISOLATION,
    ANNOTATION_NETWORK,
    ANNOTATION_PROFILE,
    FunctionSpec,
    Namespace,
    Resources,
)
from hilbert.core.network import NetworkKind
from hilbert.providers.rules import GVISOR, names_in

_FUNCTIONS: Final = tuple(SETTABLE[name] for name in sorted(placed(Place.FUNCTION)))
_NAMESPACES: Final = tuple(SETTABLE[name] for name in sorted(placed(Place.NAMESPACE)))
_PROBES: Final = ("com.openfaas.health.http.", "com.openfaas.ready.http.")
_OURS: Final = ("com.hilbert.", "com.openfaas.")
"""Of other keys, such as those for a Prometheus, nobody expects anything on one machine."""
_ONE_MACHINE: Final = "it has no effect on one machine, only on Kubernetes"
_CLUSTER: Final = "it has no effect on Kubernetes, only on one machine"
_INSTEAD: Final = {
    ANNOTATION_ISOLATION: "; com.hilbert.profiles and com.hilbert.pod-security impose isolation there",
    "com.hilbert.limits.log-bytes": ", where Hilbert keeps the logs",
}
"""What a reader is told besides."""


def on_host(of: FunctionSpec | Namespace) -> list[str]:
    if isinstance(of, Namespace):
        return [f"annotation {key.name}: {_ONE_MACHINE}" for key in _vain(of) if not key.host]
    vain = [key.name for key in _vain(of) if not key.host]
    found = [f"annotation {name}: {_ONE_MACHINE}" for name in vain if not name.startswith(_PROBES)]
    found += [
        f"annotation {name}: only the path has an effect on one machine" for name in vain if name.startswith(_PROBES)
    ]
    chosen = names_in(of.annotations.get(ANNOTATION_PROFILE))
    found += [
        f"annotation {ANNOTATION_PROFILE}: {name[:64]} has no effect on one machine, only {GVISOR}"
        for name in chosen[:8]
        if name != GVISOR
    ]
    if of.constraints:
        found.append("constraints: they have no effect on one machine, where there is no other to choose")
    return found + [
        f"{kind}.{name[:128]}: {_ONE_MACHINE}"
        for kind, resources in (("limits", of.limits), ("requests", of.requests))
        for name in sorted(_devices(resources))[:8]
    ]


def on_kubernetes(of: FunctionSpec | Namespace) -> list[str]:
    network = of.annotations.get(ANNOTATION_NETWORK, NetworkKind.NONE)
    found = (
        [f"annotation {ANNOTATION_NETWORK}: {network} has no effect on Kubernetes, only {NetworkKind.NONE.value}"]
        if network != NetworkKind.NONE
        else []
    )
    for key in _vain(of):
        if not key.kubernetes:
            instead = _INSTEAD.get(key.name, "")
            found.append(f"annotation {key.name}: {_CLUSTER}{instead}")
    return found


def _vain(of: FunctionSpec | Namespace) -> list[Key]:
    """Keys that are there and that some provider does not act on."""
    known = _NAMESPACES if isinstance(of, Namespace) else _FUNCTIONS
    return [
        key
        for key in known
        if key.name in of.annotations and not (key.host and key.kubernetes) and key.name.startswith(_OURS)
    ]


def _devices(resources: Resources | None) -> Mapping[str, object]:
    return resources.devices if resources is not None else {}
