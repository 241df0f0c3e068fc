"""What a provider says that it keeps and does not act on."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.core.model import FunctionSpec, Namespace, Resources
from hilbert.core.ports import Disregards
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef, Quantity, parse_namespace_name
from hilbert.providers.disregarded import on_host, on_kubernetes
from hilbert.providers.host.provider import HostProvider
from hilbert.providers.kubernetes.provider import KubernetesProvider

REF = FunctionRef(DEFAULT_NAMESPACE, FunctionName("f"))
GPU = Resources(devices={"nvidia.com/gpu": Quantity.parse("1")})


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(ref=REF, image="i", **fields)


def namespace(**annotations: str) -> Namespace:
    return Namespace(
        name=parse_namespace_name("dev"),
        annotations={key.replace("__", "-").replace("_", "."): text for key, text in annotations.items()},
    )


@pytest.mark.parametrize("kind", [HostProvider, KubernetesProvider])
def test_both_providers_say_it(kind: type) -> None:
    assert issubclass(kind, Disregards)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"constraints": ("kubernetes.io/arch=arm64",)}, "constraints: they have no effect on one machine"),
        ({"annotations": {"com.openfaas.profile": "spot"}}, "com.openfaas.profile: spot has no effect on one machine"),
        ({"annotations": {"com.openfaas.profile": "gvisor, gpu"}}, "com.openfaas.profile: gpu has no effect on one"),
        ({"annotations": {"com.openfaas.serviceaccount": "x"}}, "com.openfaas.serviceaccount: it has no effect"),
        ({"annotations": {"com.openfaas.health.http.periodSeconds": "5"}}, "only the path has an effect"),
        ({"annotations": {"com.openfaas.ready.http.initialDelay": "5s"}}, "only the path has an effect"),
        ({"limits": GPU}, "limits.nvidia.com/gpu: it has no effect on one machine"),
        ({"requests": GPU}, "requests.nvidia.com/gpu: it has no effect on one machine"),
    ],
)
def test_a_host_names_what_only_a_cluster_does(fields: dict[str, Any], said: str) -> None:
    (told,) = on_host(spec(**fields))
    assert said in told
    assert on_kubernetes(spec(**fields)) == []


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"com.hilbert.port": "3000"}, "com.hilbert.port: it has no effect on Kubernetes"),
        ({"com.hilbert.pull-secret": "login"}, "com.hilbert.pull-secret: it has no effect on Kubernetes"),
        ({"com.hilbert.scale.idle": "freeze"}, "com.hilbert.scale.idle: it has no effect on Kubernetes"),
        ({"com.hilbert.limits.log-bytes": "4Ki"}, "com.hilbert.limits.log-bytes: it has no effect on Kubernetes"),
        ({"com.hilbert.network": "host"}, "com.hilbert.network: host has no effect on Kubernetes, only none"),
    ],
)
def test_a_cluster_names_what_only_a_host_does(annotations: dict[str, str], said: str) -> None:
    (told,) = on_kubernetes(spec(annotations=annotations))
    assert said in told
    assert on_host(spec(annotations=annotations)) == []


def test_what_works_is_not_named() -> None:
    paths = {"com.openfaas.health.http.path": "/h", "com.openfaas.ready.http.path": "/r"}
    limits = Resources(memory=Quantity.parse("64Mi"))
    assert on_host(spec(annotations={**paths, "com.hilbert.network": "none"}, limits=limits, requests=limits)) == []
    assert on_kubernetes(spec(annotations={**paths, "com.hilbert.network": "none"}, constraints=("a=b",))) == []


def test_the_profile_that_one_machine_has_is_not_named() -> None:
    assert on_host(spec(annotations={"com.openfaas.profile": "gvisor"})) == []
    assert on_host(namespace(com_hilbert_profiles="gvisor")) == []


def test_namespaces_are_told_of_the_other_providers_settings() -> None:
    (told,) = on_host(namespace(com_hilbert_pod__security="baseline", com_hilbert_egress="none"))
    assert told.startswith("annotation com.hilbert.pod-security: it has no effect on one machine")
    (told,) = on_kubernetes(namespace(com_hilbert_profiles="gvisor", com_hilbert_isolation="strict"))
    assert told.startswith("annotation com.hilbert.isolation: it has no effect on Kubernetes")
    (told,) = on_kubernetes(namespace(com_hilbert_limits_log__bytes="64Ki", com_hilbert_limits_rate="5"))
    assert told.startswith("annotation com.hilbert.limits.log-bytes: it has no effect on Kubernetes")
