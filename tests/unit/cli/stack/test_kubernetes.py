"""Functions as objects of Kubernetes; the Pod in a Knative Service is checked against Kubernetes' own schema."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import yaml

from hilbert.cli.stack.kubernetes import function_object, knative_service
from hilbert.stack.yamltext import write_yaml
from hilbert.wire.function import Deployment, ResourceAmounts

PLAIN = Deployment(service="plain", image="x:1")
FULL = Deployment(
    service="web",
    image="example/web:1",
    env_process="node index.js",
    env_vars={"A": "1"},
    secrets=("db", "key"),
    labels={"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "5", "tier": "gold"},
    annotations={"topic": "x"},
    limits=ResourceAmounts(memory="64Mi"),
    requests=ResourceAmounts(cpu="100m"),
    constraints=("a=b",),
    read_only_root_filesystem=True,
)


def service_of(deployment: Deployment) -> dict[str, Any]:
    """As it is after it was written and read."""
    text = write_yaml(knative_service(deployment, "dev"))
    assert "&id" not in text
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def as_deployment(service: dict[str, Any]) -> dict[str, Any]:
    """What Knative makes of it, as far as Kubernetes is concerned: names of containers are Knative's to give."""
    template = service["spec"]["template"]
    (container,) = template["spec"]["containers"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": service["metadata"],
        "spec": {
            "selector": {"matchLabels": template["metadata"]["labels"]},
            "template": {**template, "spec": {**template["spec"], "containers": [{"name": "user", **container}]}},
        },
    }


def test_a_knative_service() -> None:
    """Everything that a function has but its constraints; limits of scaling in Knative's words."""
    service = service_of(FULL)
    assert (service["apiVersion"], service["kind"]) == ("serving.knative.dev/v1", "Service")
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("web", "dev")
    template = service["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "topic": "x",
        "autoscaling.knative.dev/min-scale": "2",
        "autoscaling.knative.dev/max-scale": "5",
    }
    assert template["metadata"]["labels"]["tier"] == "gold"
    (container,) = template["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "fprocess", "value": "node index.js"}]
    assert container["resources"] == {"limits": {"memory": "64Mi"}, "requests": {"cpu": "100m"}}
    assert container["securityContext"] == {"readOnlyRootFilesystem": True}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    secrets = volumes[mounts["/var/openfaas/secrets"]]["projected"]["sources"]
    assert [source["secret"]["name"] for source in secrets] == ["db", "key"]
    assert volumes[mounts["/tmp"]]["emptyDir"] == {}


def test_kubernetes_takes_its_pod() -> None:
    for deployment in (FULL, PLAIN):
        kubernetes_validate.validate(as_deployment(service_of(deployment)), "1.31", strict=True)


def test_a_plain_one_says_no_more_than_it_must() -> None:
    service = service_of(PLAIN)
    assert service["spec"]["template"]["spec"] == {"containers": [{"image": "x:1"}]}
    assert "annotations" not in service["metadata"]


def test_a_function_object() -> None:
    """`fprocess` is part of the environment; what says nothing is left out."""
    spec: Any = function_object(FULL, "dev")["spec"]
    assert spec["environment"] == {"A": "1", "fprocess": "node index.js"}
    assert spec["constraints"] == ["a=b"]
    assert function_object(PLAIN, "dev")["spec"] == {"name": "plain", "image": "x:1"}
