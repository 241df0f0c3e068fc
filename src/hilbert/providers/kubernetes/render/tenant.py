"""What makes a namespace a tenant: quota, limits, network policies and Pod Security labels. Pure.

A namespace that the API made is a tenant with all that is in it (`Scope.WHOLE`). One that was annotated with `kubectl` may
hold other things, which must not notice: policies select its functions' Pods alone, and what would bind every Pod there
(limits, Pod Security, a quota of Pods) is left to Hilbert's own count (`Scope.FUNCTIONS`).

Each piece follows from the namespace's annotations, and can be left out with `com.hilbert.tenant.PIECE: off`. Setting
annotations of a namespace is an administrator's right; functions cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import msgspec

from hilbert.core.errors import InvalidSpec
from hilbert.core.model import LABEL_FUNCTION
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import Quantity
from hilbert.providers import quota
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.objects import Manifest

_QUOTA: Final = {
    quota.FUNCTIONS: "count/functions.openfaas.com",
    quota.REPLICAS: "pods",
    quota.SECRETS: "count/secrets",
    **{key: f"{group}.{resource}" for key, (group, resource) in quota.AMOUNTS.items()},
}
"""Annotations that make a ResourceQuota."""
_QUOTA_OF_FUNCTIONS: Final = {quota.FUNCTIONS: _QUOTA[quota.FUNCTIONS]}
_ROOM: Final = 3
"""How often what the quota allows fits into the ResourceQuota. Kubernetes counts Pods that still end and the additional one
of a roll-out, ours counts what functions are meant to have: one share runs, one starts, one ends."""
_OF_PODS: Final = frozenset({quota.REPLICAS, *quota.AMOUNTS})

POD_SECURITY: Final = "com.hilbert.pod-security"
"""`restricted` (the default), `baseline` or `privileged`."""
POD_SECURITY_LEVELS: Final = ("restricted", "baseline", "privileged")
INTERNET: Final = "com.hilbert.network.internet"
"""`closed` keeps functions from the internet."""
GATEWAY: Final = "com.hilbert.network.gateway"
"""`open` lets functions call the gateway, and so other functions; `/system/` there still asks for credentials."""
METRICS: Final = "com.hilbert.network.metrics-from"
"""Name of a namespace whose Pods may read metrics from functions (port 8081)."""

PIECES: Final = ("quota", "limits", "network", "pod-security")
NAMES: Final = frozenset(
    {
        "hilbert",
        "hilbert-deny",
        "hilbert-from-gateway",
        "hilbert-metrics",
        "hilbert-to-dns",
        "hilbert-to-gateway",
        "hilbert-to-internet",
    }
)
"""Of all objects that a tenant may have. Others are never ours, whatever their labels say."""

_PRIVATE_V4: Final = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE_V6: Final = ("fc00::/7", "fe80::/10", "fec0::/10")
_TRANSLATED_V6: Final = ("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
"""IPv6 addresses that stand for IPv4 ones (NAT64 of RFC 6052 and 8215, Teredo, 6to4): through them the private
addresses would be reached that are closed above."""
_METADATA_V4: Final = ("168.63.129.16/32", "192.0.0.0/24")
"""Metadata services of clouds (Azure, Oracle) outside the ranges above; the others' are link-local or shared."""
_LOCAL_DNS: Final = "169.254.20.10/32"
"""The address of NodeLocal DNSCache."""
_METRICS_PORT: Final = 8081
_MODES: Final = ("enforce", "warn")
"""Of Pod Security: refuse, and say so to whoever applies."""


class Surroundings(msgspec.Struct, frozen=True):
    """What the policies must know of the cluster."""

    platform_namespace: str = "openfaas"
    blocked_networks: tuple[str, ...] = ()
    adopts: bool = True
    """Namespaces that were annotated with `kubectl` get what their functions need."""

    @classmethod
    def of(cls, settings: KubernetesSettings) -> Surroundings:
        return cls(
            platform_namespace=settings.platform_namespace,
            blocked_networks=tuple(part.strip() for part in settings.blocked_networks.split(",") if part.strip()),
            adopts=settings.adopt_namespaces,
        )


class Scope(Enum):
    """What in a namespace is ours to bind. The values are those of `com.hilbert.tenant`."""

    WHOLE = "managed"
    FUNCTIONS = "functions"
    NOTHING = "off"


def scope(labels: Mapping[str, str], annotations: Mapping[str, str], *, adopts: bool = True) -> Scope:
    """What the namespace says, else by who made it."""
    wish = annotations.get(names.NS_TENANT)
    if wish in {one.value for one in Scope}:
        return Scope(wish)
    if labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY:
        return Scope.WHOLE
    return Scope.FUNCTIONS if adopts else Scope.NOTHING


def pod_security_labels(annotations: Mapping[str, str], of: Scope = Scope.WHOLE) -> dict[str, str]:
    """Labels of the namespace that make the API server refuse Pods above the level. Raises `InvalidSpec`."""
    if quota.is_off(annotations, "pod-security") or of is Scope.NOTHING:
        return {}
    if of is Scope.FUNCTIONS and POD_SECURITY not in annotations:
        return {}
    level = annotations.get(POD_SECURITY, "restricted")
    if level not in POD_SECURITY_LEVELS:
        raise InvalidSpec(f"annotation {POD_SECURITY}: must be one of {', '.join(POD_SECURITY_LEVELS)}")
    return {f"{names.POD_SECURITY_PREFIX}{mode}": level for mode in _MODES}


def has_pod_security(labels: Mapping[str, str], annotations: Mapping[str, str], of: Scope = Scope.WHOLE) -> bool:
    """Whether a namespace with `labels` says what its annotations ask for. Raises `InvalidSpec`."""
    wanted = pod_security_labels(annotations, of)
    keys = [f"{names.POD_SECURITY_PREFIX}{mode}" for mode in _MODES]
    if not wanted and of is not Scope.WHOLE and len({labels.get(key, key) for key in keys}) > 1:
        return True  # We set all modes to one level: these labels are somebody else's, or none.
    return all(labels.get(key) == wanted.get(key) for key in keys)


def pieces(
    namespace: str,
    annotations: Mapping[str, str],
    surroundings: Surroundings = Surroundings(),  # noqa: B008 - frozen
    of: Scope = Scope.WHOLE,
) -> list[Manifest]:
    """The objects of the tenant, in the order of applying. What is not among them is to be removed. Raises `InvalidSpec`."""
    found: list[Manifest] = []
    if of is Scope.NOTHING:
        return found
    asked = {} if quota.is_off(annotations, "quota") else _QUOTA if of is Scope.WHOLE else _QUOTA_OF_FUNCTIONS
    hard = {
        resource: _room(amount) if key in _OF_PODS else amount.text
        for key, resource in asked.items()
        if key in annotations and (amount := quota.quantity(annotations, key))
    }
    if hard:
        found.append(_object("v1", "ResourceQuota", namespace, "hilbert", {"hard": hard}))
    limits = quota.limit_range(annotations)
    if limits and of is Scope.WHOLE:
        found.append(_object("v1", "LimitRange", namespace, "hilbert", {"limits": [{"type": "Container", **limits}]}))
    if not quota.is_off(annotations, "network"):
        found.extend(
            _object("networking.k8s.io/v1", "NetworkPolicy", namespace, name, spec)
            for name, spec in _policies(annotations, surroundings, of)
        )
    return found


def _room(amount: Quantity) -> str:
    """With the suffix that it was written with."""
    digits = amount.text[: next((i for i, c in enumerate(amount.text) if c not in "0123456789."), None)]
    return f"{(Decimal(digits) * _ROOM).normalize():f}{amount.text[len(digits) :]}"


def _policies(annotations: Mapping[str, str], around: Surroundings, of: Scope) -> Iterable[tuple[str, dict[str, Any]]]:
    functions = {"matchExpressions": [{"key": LABEL_FUNCTION, "operator": "Exists"}]}
    open_functions = {
        "matchExpressions": [
            {"key": LABEL_FUNCTION, "operator": "Exists"},
            {"key": names.LABEL_NETWORK, "operator": "NotIn", "values": ["none"]},
        ]
    }
    gateway = {
        "namespaceSelector": {"matchLabels": {names.LABEL_METADATA_NAME: around.platform_namespace}},
        "podSelector": {"matchLabels": {"app": names.GATEWAY_APP}},
    }
    denied: dict[str, Any] = functions if of is Scope.FUNCTIONS else {}
    yield "hilbert-deny", {"podSelector": denied, "policyTypes": ["Ingress", "Egress"]}
    yield (
        "hilbert-from-gateway",
        {
            "podSelector": functions,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [gateway], "ports": [_port(names.FUNCTION_PORT)]}],
        },
    )
    if source := annotations.get(METRICS):
        peer = {"namespaceSelector": {"matchLabels": {names.LABEL_METADATA_NAME: source}}}
        yield (
            "hilbert-metrics",
            {
                "podSelector": functions,
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [peer], "ports": [_port(_METRICS_PORT)]}],
            },
        )
    dns = {
        "namespaceSelector": {"matchLabels": {names.LABEL_METADATA_NAME: "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    yield (
        "hilbert-to-dns",
        _egress(open_functions, [dns, {"ipBlock": {"cidr": _LOCAL_DNS}}], [_port(53, "UDP"), _port(53, "TCP")]),
    )
    if annotations.get(INTERNET) != "closed":
        yield "hilbert-to-internet", _egress(open_functions, _internet(around.blocked_networks), None)
    if annotations.get(GATEWAY) == "open":
        yield "hilbert-to-gateway", _egress(open_functions, [gateway], [_port(names.FUNCTION_PORT)])


def _internet(blocked: Sequence[str]) -> list[dict[str, Any]]:
    """All addresses but private, shared and link-local ones: Pods, nodes, services, the API server, cloud metadata."""
    closed = (*_PRIVATE_V4, *_METADATA_V4)
    return [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [*closed, *(net for net in blocked if ":" not in net)]}},
        {
            "ipBlock": {
                "cidr": "::/0",
                "except": [*_PRIVATE_V6, *_TRANSLATED_V6, *(net for net in blocked if ":" in net)],
            }
        },
    ]


def _egress(selector: Mapping[str, Any], to: Sequence[Any], ports: Sequence[Any] | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"to": list(to)}
    if ports:
        rule["ports"] = list(ports)
    return {"podSelector": selector, "policyTypes": ["Egress"], "egress": [rule]}


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}


def _object(api: str, kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": dict(spec),
    }
