"""What makes a namespace a tenant: quota, limits, network policies and Pod Security labels. Pure.

Each piece follows from the namespace's annotations, and can be left out with `com.hilbert.tenant.PIECE: off`. Setting
annotations of a namespace is an administrator's right; functions cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hilbert.core.errors import HilbertError, InvalidSpec
from hilbert.core.model import LABEL_FUNCTION
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import Quantity
from hilbert.providers.kubernetes import names
from hilbert.providers.kubernetes.objects import Manifest

QUOTA: Final = {
    "com.hilbert.quota.functions": "count/functions.openfaas.com",
    "com.hilbert.quota.replicas": "pods",
    "com.hilbert.quota.secrets": "count/secrets",
    "com.hilbert.quota.cpu": "limits.cpu",
    "com.hilbert.quota.memory": "limits.memory",
    "com.hilbert.quota.requests-cpu": "requests.cpu",
    "com.hilbert.quota.requests-memory": "requests.memory",
}
"""Annotations that make a ResourceQuota: the most that all functions of the namespace may have together."""

LIMITS: Final = {
    "com.hilbert.limits.cpu": ("default", "cpu"),
    "com.hilbert.limits.memory": ("default", "memory"),
    "com.hilbert.limits.requests-cpu": ("defaultRequest", "cpu"),
    "com.hilbert.limits.requests-memory": ("defaultRequest", "memory"),
    "com.hilbert.limits.max-cpu": ("max", "cpu"),
    "com.hilbert.limits.max-memory": ("max", "memory"),
}
"""Annotations that make a LimitRange: what one replica gets when its function says nothing, and the most it may ask for."""

_FILLED: Final = {"cpu": "100m", "memory": "128Mi"}
"""Given to functions without limits where a quota counts limits: the API server refuses Pods that state none."""

POD_SECURITY: Final = "com.hilbert.pod-security"
"""`restricted` (the default), `baseline` or `privileged`."""
INTERNET: Final = "com.hilbert.network.internet"
"""`closed` keeps functions from the internet."""
GATEWAY: Final = "com.hilbert.network.gateway"
"""`open` lets functions call the gateway, and so other functions; `/system/` there still asks for credentials."""
METRICS: Final = "com.hilbert.network.metrics-from"
"""Name of a namespace whose Pods may read metrics from functions (port 8081)."""

_OFF: Final = "com.hilbert.tenant."
PIECES: Final = ("quota", "limits", "network", "pod-security")

_PRIVATE_V4: Final = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE_V6: Final = ("fc00::/7", "fe80::/10")
_METADATA_V4: Final = ("168.63.129.16/32", "192.0.0.0/24")
"""Metadata services of clouds (Azure, Oracle) outside the ranges above; the others' are link-local or shared."""
_LOCAL_DNS: Final = "169.254.20.10/32"
"""The address of NodeLocal DNSCache."""
_METRICS_PORT: Final = 8081


class Surroundings(msgspec.Struct, frozen=True):
    """What the policies must know of the cluster."""

    platform_namespace: str = "openfaas"
    blocked_networks: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: KubernetesSettings) -> Surroundings:
        return cls(
            platform_namespace=settings.platform_namespace,
            blocked_networks=tuple(part.strip() for part in settings.blocked_networks.split(",") if part.strip()),
        )


def is_managed(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Whether the pieces are ours to keep: the namespace was made by the API, or asks for them."""
    wish = annotations.get(names.NS_TENANT)
    return wish == "managed" if wish is not None else labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY


def check(annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for an annotation that cannot be honoured."""
    pieces("check", annotations)
    pod_security_labels(annotations)


def pod_security_labels(annotations: Mapping[str, str]) -> dict[str, str]:
    """Labels of the namespace that make the API server refuse Pods above the level."""
    if _is_off(annotations, "pod-security"):
        return {}
    level = annotations.get(POD_SECURITY, "restricted")
    if level not in ("restricted", "baseline", "privileged"):
        raise InvalidSpec(f"annotation {POD_SECURITY}: must be restricted, baseline or privileged")
    return {f"{names.POD_SECURITY_PREFIX}{mode}": level for mode in ("enforce", "warn")}


def pieces(
    namespace: str,
    annotations: Mapping[str, str],
    surroundings: Surroundings = Surroundings(),  # noqa: B008 - frozen
) -> list[Manifest]:
    """The objects of the tenant, in the order of applying. What is not among them is to be removed. Raises `InvalidSpec`."""
    found: list[Manifest] = []
    quota = {} if _is_off(annotations, "quota") else _amounts(annotations, QUOTA)
    if quota:
        found.append(_object("v1", "ResourceQuota", namespace, "hilbert", {"hard": quota}))
    if not _is_off(annotations, "limits") and (limits := _limits(annotations, quota)):
        found.append(_object("v1", "LimitRange", namespace, "hilbert", {"limits": [{"type": "Container", **limits}]}))
    if not _is_off(annotations, "network"):
        found.extend(
            _object("networking.k8s.io/v1", "NetworkPolicy", namespace, name, spec)
            for name, spec in _policies(annotations, surroundings)
        )
    return found


def _limits(annotations: Mapping[str, str], quota: Mapping[str, str]) -> dict[str, dict[str, str]]:
    limits: dict[str, dict[str, str]] = {}
    for key, (group, resource) in LIMITS.items():
        if key in annotations:
            limits.setdefault(group, {})[resource] = _quantity(annotations, key)
    for resource, amount in _FILLED.items():
        if f"limits.{resource}" in quota:
            limits.setdefault("default", {}).setdefault(resource, limits.get("max", {}).get(resource, amount))
        if f"requests.{resource}" in quota:
            default = limits.get("default", {}).get(resource, amount)
            limits.setdefault("defaultRequest", {}).setdefault(resource, default)
    for resource, limit in limits.get("max", {}).items():
        default = limits.setdefault("default", {}).setdefault(resource, limit)
        if Quantity.parse(default).amount > Quantity.parse(limit).amount:
            raise InvalidSpec(
                f"annotation com.hilbert.limits.{resource}: is more than com.hilbert.limits.max-{resource}"
            )
    for resource, request in limits.get("defaultRequest", {}).items():
        most = limits.get("default", {}).get(resource)
        if most is not None and Quantity.parse(request).amount > Quantity.parse(most).amount:
            raise InvalidSpec(f"annotation com.hilbert.limits.requests-{resource}: is more than the limit of {most}")
    return limits


def _policies(annotations: Mapping[str, str], around: Surroundings) -> Iterable[tuple[str, dict[str, Any]]]:
    everything: dict[str, Any] = {}
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
    yield "hilbert-deny", {"podSelector": everything, "policyTypes": ["Ingress", "Egress"]}
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
        {"ipBlock": {"cidr": "::/0", "except": [*_PRIVATE_V6, *(net for net in blocked if ":" in net)]}},
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


def _is_off(annotations: Mapping[str, str], piece: str) -> bool:
    return annotations.get(_OFF + piece) == "off"


def _amounts(annotations: Mapping[str, str], table: Mapping[str, str]) -> dict[str, str]:
    return {resource: _quantity(annotations, key) for key, resource in table.items() if key in annotations}


def _quantity(annotations: Mapping[str, str], key: str) -> str:
    try:
        return Quantity.parse(annotations[key]).text
    except HilbertError as exc:
        raise InvalidSpec(f"annotation {key}: {exc.message}") from exc
