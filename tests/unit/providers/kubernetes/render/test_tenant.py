"""A tenant's pieces: rendered as files that a reviewer reads, each switchable."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from hilbert.core.errors import InvalidSpec
from hilbert.core.settings import KubernetesSettings
from hilbert.providers.kubernetes.render import namespace_annotations, tenant
from hilbert.providers.kubernetes.render.tenant import Scope

GOLDEN = Path(__file__).parent / "golden"
QUOTA = {
    "com.hilbert.quota.functions": "10",
    "com.hilbert.quota.replicas": "20",
    "com.hilbert.quota.cpu": "4",
    "com.hilbert.quota.memory": "8Gi",
}


def kinds_of(annotations: dict[str, str]) -> set[tuple[str, str]]:
    return {(piece["kind"], piece["metadata"]["name"]) for piece in tenant.pieces("staging", annotations)}


@pytest.mark.parametrize(
    ("name", "annotations"),
    [
        ("tenant-plain", {}),
        (
            "tenant-full",
            {**QUOTA, "com.hilbert.network.gateway": "open", "com.hilbert.network.metrics-from": "monitoring"},
        ),
    ],
)
def test_pieces(name: str, annotations: dict[str, str]) -> None:
    around = tenant.Surroundings.of(KubernetesSettings(blocked_networks="203.0.113.7/32, 2001:db8::/32"))
    pieces = tenant.pieces("staging", annotations, around)
    for piece in pieces:
        kubernetes_validate.validate(piece, "1.32", strict=True)
    text = yaml.safe_dump_all(pieces, sort_keys=True)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("HILBERT_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_each_piece_can_be_left_out() -> None:
    everything = kinds_of(QUOTA)
    for piece, kind in (("quota", "ResourceQuota"), ("limits", "LimitRange"), ("network", "NetworkPolicy")):
        rest = kinds_of({**QUOTA, f"com.hilbert.tenant.{piece}": "off"})
        assert kind in {kind for kind, _ in everything}
        if piece == "quota":
            assert rest == {found for found in everything if found[0] == "NetworkPolicy"}, "no filled-in limits either"
        else:
            assert rest == {found for found in everything if found[0] != kind}
    assert tenant.pod_security_labels({"com.hilbert.tenant.pod-security": "off"}) == {}


def test_closed_to_the_internet_leaves_dns() -> None:
    names = {name for _, name in kinds_of({"com.hilbert.network.internet": "closed"})}
    assert names == {"hilbert-deny", "hilbert-from-gateway", "hilbert-to-dns"}


def test_egress_never_covers_private_or_metadata_addresses() -> None:
    (policy,) = [p for p in tenant.pieces("a", {}) if p["metadata"]["name"] == "hilbert-to-internet"]
    v4, v6 = (peer["ipBlock"] for peer in policy["spec"]["egress"][0]["to"])
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"} <= set(v4["except"])
    assert {"fc00::/7", "fe80::/10"} <= set(v6["except"])
    closed = [ipaddress.ip_network(text) for text in v6["except"]]
    for mapped in ("64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:a00:1::1", "2001::1"):
        assert any(ipaddress.ip_address(mapped) in net for net in closed), mapped


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"com.hilbert.quota.cpu": "plenty"}, "com.hilbert.quota.cpu"),
        ({"com.hilbert.pod-security": "none"}, "com.hilbert.pod-security"),
        ({"com.hilbert.limits.cpu": "2", "com.hilbert.limits.max-cpu": "1"}, "more than"),
        ({"com.hilbert.limits.memory": "1Gi", "com.hilbert.limits.requests-memory": "2Gi"}, "requests-memory"),
    ],
)
def test_annotations_that_contradict_are_refused_by_name(annotations: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        namespace_annotations.check(annotations)


@pytest.mark.parametrize(
    ("labels", "annotations", "scope"),
    [
        ({"app.kubernetes.io/managed-by": "hilbert"}, {}, Scope.WHOLE),
        ({}, {}, Scope.FUNCTIONS),
        ({"app.kubernetes.io/managed-by": "Helm"}, {}, Scope.FUNCTIONS),
        ({}, {"com.hilbert.tenant": "managed"}, Scope.WHOLE),
        ({}, {"com.hilbert.tenant": "off"}, Scope.NOTHING),
        ({}, {"com.hilbert.tenant": "unheard-of"}, Scope.FUNCTIONS),
        ({"app.kubernetes.io/managed-by": "hilbert"}, {"com.hilbert.tenant": "off"}, Scope.NOTHING),
        ({"app.kubernetes.io/managed-by": "hilbert"}, {"com.hilbert.tenant": "functions"}, Scope.FUNCTIONS),
    ],
)
def test_what_is_ours_to_bind(labels: dict[str, str], annotations: dict[str, str], scope: Scope) -> None:
    assert tenant.scope(labels, annotations) is scope
    alone = Scope.NOTHING if not annotations and scope is Scope.FUNCTIONS else scope
    if annotations.get("com.hilbert.tenant") != "unheard-of":
        assert tenant.scope(labels, annotations, adopts=False) is alone


def test_a_namespace_of_kubectl_notices_nothing_but_for_its_functions() -> None:
    """Every policy selects the Pods of functions, and nothing that counts or bounds all Pods is there."""
    annotations = {
        **QUOTA,
        "com.hilbert.limits.max-cpu": "1",
        "com.hilbert.quota.secrets": "3",
        "com.hilbert.network.gateway": "open",
        "com.hilbert.network.metrics-from": "monitoring",
    }
    pieces = tenant.pieces("team", annotations, of=Scope.FUNCTIONS)
    policies = [piece for piece in pieces if piece["kind"] == "NetworkPolicy"]
    assert {piece["metadata"]["name"] for piece in policies} == {
        name for kind, name in kinds_of(annotations) if kind == "NetworkPolicy"
    }
    for policy in policies:
        chosen = policy["spec"]["podSelector"].get("matchExpressions", [])
        assert {"key": "faas_function", "operator": "Exists"} in chosen, policy["metadata"]["name"]
    (counted,) = [piece for piece in pieces if piece["kind"] != "NetworkPolicy"]
    assert counted["spec"] == {"hard": {"count/functions.openfaas.com": "10"}}
    assert tenant.pod_security_labels(annotations, Scope.FUNCTIONS) == {}
    asked = {**annotations, "com.hilbert.pod-security": "baseline"}
    assert tenant.pod_security_labels(asked, Scope.FUNCTIONS), "asked for in so many words"
    assert tenant.pieces("team", annotations, of=Scope.NOTHING) == []


@pytest.mark.parametrize(
    ("labels", "settled"),
    [
        ({}, True),
        ({"pod-security.kubernetes.io/enforce": "baseline"}, True),
        (
            {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            },
            False,
        ),
    ],
)
def test_pod_security_of_others_is_left_to_them(labels: dict[str, str], settled: bool) -> None:
    assert tenant.has_pod_security(labels, {}, Scope.FUNCTIONS) is settled
