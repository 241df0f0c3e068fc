"""Rendered manifests, compared with files that a reviewer reads, and checked against the official schemas.

`HILBERT_UPDATE_GOLDEN=1` writes the files anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from hilbert.core.errors import InvalidSpec
from hilbert.core.model import FunctionSpec, Resources
from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import FunctionRef, Quantity, SecretName
from hilbert.providers.kubernetes.cluster.objects import Meta, ProfileObject
from hilbert.providers.kubernetes.render import pod, profiles, workload

GOLDEN = Path(__file__).parent / "golden"
OWNER = workload.Owner("6f1c7a52-0000-4000-8000-000000000001", 3)
PLAIN = FunctionSpec(ref=FunctionRef.parse("figlet"), image="ghcr.io/openfaas/figlet:latest")
FULL = FunctionSpec(
    ref=FunctionRef.parse("report.staging"),
    image="registry.example.com/team/report:1.2@sha256:" + "ab" * 32,
    process="python index.py",
    env={"write_timeout": "2m", "GREETING": "costs $5, or $(HOME), or $$", "A": "1"},
    labels={"com.openfaas.scale.min": "2", "team": "billing"},
    annotations={
        "topic": "invoices",
        "iam.amazonaws.com/role": "admin",
        "linkerd.io/inject": "enabled",
        "com.openfaas.ready.http.path": "/_/ready",
        "com.openfaas.ready.http.periodSeconds": "5",
        "com.openfaas.health.http.initialDelay": "30s",
    },
    secrets=(SecretName("registry"), SecretName("db-password"), SecretName("api-key")),
    constraints=("zone=eu-1", "odd==one", "nothing"),
    limits=Resources(
        memory=Quantity.parse("256Mi"), cpu=Quantity.parse("0.5"), devices={"nvidia.com/gpu": Quantity.parse("1")}
    ),
    requests=Resources(memory=Quantity.parse("64Mi")),
    read_only_root=True,
)


def manifest_of(spec: FunctionSpec = PLAIN, **given: Any) -> dict[str, Any]:
    return workload.deployment(spec, owner=OWNER, **{"replicas": 1, **given})


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return found


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def check_golden(name: str, manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.32", strict=True)
    text = yaml.safe_dump_all(manifests, sort_keys=True)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("HILBERT_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_plain_function() -> None:
    check_golden("plain", [manifest_of(), workload.service(PLAIN, owner=OWNER)])


def test_function_that_says_everything() -> None:
    rules = pod.Rules.of(KubernetesSettings(pod_annotations="linkerd.io"), ProviderSettings())
    check_golden(
        "full",
        [
            manifest_of(FULL, replicas=2, pull_secrets={"registry"}, rules=rules),
            workload.service(FULL, owner=OWNER),
        ],
    )


def test_profiles_shape_the_pod() -> None:
    known = {
        "gvisor": ProfileObject(
            metadata=Meta(name="gvisor"),
            spec={
                "runtimeClassName": "gvisor",
                "tolerations": [{"key": "sandbox", "operator": "Exists"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "podSecurityContext": {"runAsUser": 4000},
            },
        ),
        "batch": ProfileObject(
            metadata=Meta(name="batch"),
            spec={
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "priorityClassName": "low",
                "strategy": {"type": "Recreate"},
                "affinity": {"podAntiAffinity": {}},
            },
        ),
    }
    merged = profiles.merge(("gvisor", "batch"), known)
    check_golden("profiles", [manifest_of(FULL, pull_secrets={"registry"}, profile=merged)])
    assert container_of(manifest_of(FULL, profile=merged))["resources"]["limits"]["memory"] == "256Mi"


def test_namespace_has_the_last_word_on_profiles() -> None:
    assert profiles.chosen({"com.openfaas.profile": "a, b,a"}, {"com.hilbert.profiles": "b,c"}) == ("a", "b", "c")
    known = {
        name: ProfileObject(metadata=Meta(name=name), spec={"runtimeClassName": name}) for name in ("runc", "gvisor")
    }
    names = profiles.chosen({"com.openfaas.profile": "runc"}, {"com.hilbert.profiles": "gvisor"})
    assert profiles.merge(names, known).pod["runtimeClassName"] == "gvisor"


def test_imposed_resources_win_over_the_functions_own() -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}}
    known = {"small": ProfileObject(metadata=Meta(name="small"), spec=limits)}
    for imposed, limit in (((), "256Mi"), (("small",), "64Mi")):
        merged = profiles.merge(("small",), known, imposed=imposed)
        assert container_of(manifest_of(FULL, profile=merged))["resources"]["limits"]["memory"] == limit


def test_unknown_profile_is_refused_by_name() -> None:
    with pytest.raises(InvalidSpec, match="profile absent does not exist"):
        profiles.merge(("absent",), {})


def test_annotations_that_steer_the_cluster_stay_off_pods() -> None:
    annotations = manifest_of(FULL)["spec"]["template"]["metadata"]["annotations"]
    assert "iam.amazonaws.com/role" not in annotations
    assert "linkerd.io/inject" not in annotations
    assert annotations["topic"] == "invoices"


def test_labels_that_steer_the_cluster_stay_off_pods() -> None:
    labels = {"sidecar.istio.io/inject": "true", "linkerd.io/inject": "enabled", "team": "billing"}
    spec = FunctionSpec(ref=FunctionRef.parse("a"), image="i", labels=labels)
    rules = pod.Rules.of(KubernetesSettings(pod_annotations="linkerd.io"), ProviderSettings())
    found = manifest_of(spec, rules=rules)["spec"]["template"]["metadata"]["labels"]
    assert found == {"linkerd.io/inject": "enabled", "team": "billing", "faas_function": "a"}


WEAK: dict[str, dict[str, Any]] = {
    "root": {"podSecurityContext": {"runAsUser": 0}},
    "first": {"priorityClassName": "system-node-critical"},
    "anywhere": {"tolerations": [{"operator": "Exists"}]},
}
STRONG: dict[str, dict[str, Any]] = {
    "gvisor": {"runtimeClassName": "gvisor"},
    "spread": {"affinity": {"podAntiAffinity": {}}, "resources": {"limits": {"memory": "1Gi"}}},
    "empty": {},
}


@pytest.mark.parametrize("name", [*WEAK, *STRONG])
@pytest.mark.parametrize(
    ("annotations", "weak", "strong"),
    [
        ({}, False, True),
        ({"com.hilbert.profiles.allowed": "*"}, True, True),
        ({"com.hilbert.profiles.allowed": ""}, False, False),
        ({"com.hilbert.profiles.allowed": ",".join(WEAK)}, True, False),
        ({"com.hilbert.profiles": ",".join(WEAK)}, True, True),
    ],
    ids=["says nothing", "everything", "none", "the weak ones", "imposes the weak ones"],
)
def test_a_function_chooses_only_profiles_that_its_namespace_allows(
    name: str, annotations: dict[str, str], weak: bool, strong: bool
) -> None:
    known = {key: ProfileObject(metadata=Meta(name=key), spec=spec) for key, spec in (WEAK | STRONG).items()}
    if weak if name in WEAK else strong:
        profiles.check_allowed((name,), known, annotations)
    else:
        with pytest.raises(InvalidSpec, match=f"profile {name} ") as refused:
            profiles.check_allowed((name,), known, annotations)
        assert "com.hilbert.profiles.allowed" in refused.value.hint


def test_a_namespace_bounds_by_what_nodes_are_chosen() -> None:
    spec = FunctionSpec(
        ref=FunctionRef.parse("a"), image="i", constraints=("kubernetes.io/arch = arm64", "node=victim")
    )
    assert pod_of(manifest_of(spec))["nodeSelector"] == {"kubernetes.io/arch": "arm64", "node": "victim"}
    allowed = {"com.hilbert.constraints.allowed": "kubernetes.io/arch"}
    with pytest.raises(InvalidSpec, match="constraint node"):
        manifest_of(spec, namespace_annotations=allowed)
    spec = msgspec.structs.replace(spec, constraints=("kubernetes.io/arch=arm64",))
    assert pod_of(manifest_of(spec, namespace_annotations=allowed))["nodeSelector"] == {"kubernetes.io/arch": "arm64"}


def test_dollars_reach_the_function_as_written() -> None:
    env = {entry["name"]: entry["value"] for entry in container_of(manifest_of(FULL))["env"]}
    assert env["GREETING"] == "costs $$5, or $$(HOME), or $$$$"


def test_identity_cannot_be_forged() -> None:
    spec = FunctionSpec(
        ref=FunctionRef.parse("a.b"), image="i", env={"OPENFAAS_NAMESPACE": "other"}, labels={"faas_function": "x"}
    )
    manifest = manifest_of(spec)
    assert {"name": "OPENFAAS_NAMESPACE", "value": "b"} in container_of(manifest)["env"]
    assert manifest["spec"]["template"]["metadata"]["labels"]["faas_function"] == "a"


@pytest.mark.parametrize("where", ["function", "namespace"])
def test_cut_off_functions_carry_the_label_of_the_policies(where: str) -> None:
    cut = {"com.hilbert.network": "none"}
    spec = FunctionSpec(
        ref=FunctionRef.parse("a"),
        image="i",
        annotations=cut if where == "function" else {},
        labels={"com.hilbert.network": "host"},
    )
    manifest = manifest_of(spec, namespace_annotations=cut if where == "namespace" else {})
    assert manifest["spec"]["template"]["metadata"]["labels"]["com.hilbert.network"] == "none"


@pytest.mark.parametrize("annotations", [{}, {"com.openfaas.health.http.path": "/h"}, {"com.hilbert.network": "none"}])
def test_a_pod_gets_no_token_and_no_names_of_services(annotations: dict[str, str]) -> None:
    """Else a function could ask the cluster's API, and read who else is there in its environment (CVE-2026-46617, Fission)."""
    pod = pod_of(manifest_of(FunctionSpec(ref=FunctionRef.parse("a"), image="i", annotations=annotations)))
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert "serviceAccountName" not in pod


def test_service_account_needs_the_namespaces_leave() -> None:
    spec = FunctionSpec(ref=FunctionRef.parse("a"), image="i", annotations={"com.openfaas.serviceaccount": "reader"})
    with pytest.raises(InvalidSpec, match="does not allow service account reader"):
        manifest_of(spec)
    pod = pod_of(manifest_of(spec, namespace_annotations={"com.hilbert.service-accounts": "writer, reader"}))
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("reader", True)


def test_long_names_keep_volume_names_short_and_apart() -> None:
    names = set()
    for end in "ab":
        spec = FunctionSpec(ref=FunctionRef.parse("f" * 62 + end), image="i", secrets=(SecretName("s"),))
        manifest = manifest_of(spec)
        kubernetes_validate.validate(manifest, "1.32", strict=True)
        names.add(pod_of(manifest)["volumes"][0]["name"])
    assert len(names) == 2
    assert all(len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("env", "seconds"),
    [({}, 31), ({"write_timeout": "2m"}, 121), ({"write_timeout": "5"}, 31), ({"write_timeout": "60"}, 61)],
)
def test_grace_is_the_longer_of_both_after_the_drain(env: dict[str, str], seconds: int) -> None:
    spec = FunctionSpec(ref=FunctionRef.parse("a"), image="i", env=env)
    assert pod_of(manifest_of(spec))["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("annotations", {"com.openfaas.health.http.path": "no-slash"}, "health.http.path"),
        ("annotations", {"com.openfaas.ready.http.periodSeconds": "0"}, "periodSeconds"),
        ("annotations", {"com.openfaas.ready.http.timeoutSeconds": "99999"}, "timeoutSeconds"),
        ("annotations", {"com.openfaas.ready.http.initialDelay": "soon"}, "initialDelay"),
        ("env", {"write_timeout": "never"}, "write_timeout"),
        ("labels", {"pod-template-hash": "x"}, "pod-template-hash"),
        ("requests", Resources(cpu=Quantity.parse("2")), "requests.cpu"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: Any, said: str) -> None:
    fields: dict[str, Any] = {"limits": Resources(cpu=Quantity.parse("1")), field: value}
    with pytest.raises(InvalidSpec, match=said):
        manifest_of(FunctionSpec(ref=FunctionRef.parse("a"), image="i", **fields))


def test_digest_ignores_replicas_and_generation_but_nothing_else() -> None:
    first = workload.digest(manifest_of())
    assert workload.digest(manifest_of(replicas=7)) == first
    assert workload.digest(manifest_of(FunctionSpec(ref=PLAIN.ref, image="other"))) != first
