"""What each kind of provider keeps and returns, as OpenFaaS does, and does not act on. Pure; a sentence for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.model import (
    ANNOTATION_ISOLATION,
    ANNOTATION_NETWORK,
    ANNOTATION_PULL_SECRET,
    FunctionSpec,
    Namespace,
    Resources,
)
from hilbert.core.network import NetworkKind

_CLUSTERS: Final = ("com.openfaas.profile", "com.openfaas.serviceaccount")
_PROBES: Final = ("com.openfaas.health.http.", "com.openfaas.ready.http.")
_CLUSTERS_OF_NAMESPACE: Final = (
    "com.hilbert.constraints.allowed",
    "com.hilbert.network.gateway",
    "com.hilbert.network.internet",
    "com.hilbert.network.metrics-from",
    "com.hilbert.pod-security",
    "com.hilbert.profiles",
    "com.hilbert.profiles.allowed",
    "com.hilbert.service-accounts",
    "com.hilbert.tenant",
    "com.hilbert.tenant.network",
    "com.hilbert.tenant.pod-security",
)
_ONE_MACHINE: Final = "it has no effect on one machine, only on Kubernetes"
_CLUSTER: Final = "it has no effect on Kubernetes, only on one machine"


def on_host(of: FunctionSpec | Namespace) -> list[str]:
    if isinstance(of, Namespace):
        return [f"annotation {key}: {_ONE_MACHINE}" for key in _CLUSTERS_OF_NAMESPACE if key in of.annotations]
    probes = [key for key in sorted(of.annotations) if key.startswith(_PROBES) and not key.endswith(".path")]
    found = [f"annotation {key[:128]}: {_ONE_MACHINE}" for key in _CLUSTERS if key in of.annotations]
    found += [f"annotation {key[:128]}: only the path has an effect on one machine" for key in probes[:8]]
    if of.constraints:
        found.append("constraints: they have no effect on one machine, where there is no other to choose")
    return found + [
        f"{kind}.{name[:128]}: {_ONE_MACHINE}"
        for kind, resources in (("limits", of.limits), ("requests", of.requests))
        for name in sorted(_devices(resources))[:8]
    ]


def on_kubernetes(of: FunctionSpec | Namespace) -> list[str]:
    found = []
    network = of.annotations.get(ANNOTATION_NETWORK, NetworkKind.NONE)
    if network != NetworkKind.NONE:
        found.append(
            f"annotation {ANNOTATION_NETWORK}: {network} has no effect on Kubernetes, only {NetworkKind.NONE.value}"
        )
    if isinstance(of, Namespace):
        if ANNOTATION_ISOLATION in of.annotations:
            found.append(
                f"annotation {ANNOTATION_ISOLATION}: it has no effect on Kubernetes; "
                "com.hilbert.profiles and com.hilbert.pod-security impose isolation there"
            )
        return found
    return found + [
        f"annotation {key}: {_CLUSTER}"
        for key in ("com.hilbert.port", ANNOTATION_PULL_SECRET, "com.hilbert.scale.idle", "com.hilbert.user-ids")
        if key in of.annotations
    ]


def _devices(resources: Resources | None) -> Mapping[str, object]:
    return resources.devices if resources is not None else {}
