"""The chart as Helm itself renders and lints it, compared with the plan object by object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hilbert.providers.kubernetes.cluster.names import SHELVES
from hilbert.providers.kubernetes.install import plan
from support import helm

pytest.importorskip("helm_python", reason="Helm's library (helm-python-sdk) is not there for this machine")

CHART = Path(__file__).parents[5] / "deploy" / "kubernetes" / "chart"

Identity = tuple[str, str, str]


def by_identity(manifests: list[dict[str, Any]]) -> dict[Identity, dict[str, Any]]:
    found = {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]): m for m in manifests}
    assert len(found) == len(manifests)
    return found


def bare(manifests: dict[Identity, dict[str, Any]]) -> dict[Identity, dict[str, Any]]:
    """Without what only the chart says: what stays after it, and fields of the Pod that values leave empty."""
    for manifest in manifests.values():
        annotations = manifest["metadata"].get("annotations", {})
        annotations.pop("helm.sh/resource-policy", None)
        if not annotations:
            manifest["metadata"].pop("annotations", None)
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            for field in ("nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets"):
                assert not pod.pop(field)
    return manifests


def deployment(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = by_identity(helm.rendered(CHART, values))["Deployment", "openfaas", "gateway"]
    return found


@pytest.mark.parametrize("cluster_role", [True, False])
@pytest.mark.parametrize("namespaces", [("openfaas-fn",), ("dev-fn", "prod-fn")])
def test_chart_makes_the_plan(cluster_role: bool, namespaces: tuple[str, ...]) -> None:
    values = {
        "clusterRole": cluster_role,
        "namespaces": list(namespaces),
        "image": "example.com/hilbert:9",
        "replicas": 5,
        "generateBasicAuth": False,
        "createDefinitions": cluster_role,
        "serviceType": "NodePort",
    }
    options = plan.Options(
        namespaces=namespaces,
        cluster_role=cluster_role,
        definitions=cluster_role,
        image="example.com/hilbert:9",
        replicas=5,
        service_type="NodePort",
    )
    wanted = by_identity(plan.make(options).every())
    del wanted["Namespace", "", "openfaas"]  # Helm makes the release's namespace itself.
    assert bare(by_identity(helm.rendered(CHART, values))) == wanted


def test_without_cluster_rights_nothing_reaches_beyond_the_listed_namespaces() -> None:
    values = {"clusterRole": False, "createDefinitions": False, "namespaces": ["a", "b"]}
    made = helm.rendered(CHART, values)
    assert {manifest["kind"] for manifest in made if "namespace" not in manifest["metadata"]} == {"Namespace"}
    assert {manifest["metadata"].get("namespace", manifest["metadata"]["name"]) for manifest in made} == {
        "a",
        "b",
        "openfaas",
    }


EVERYTHING: dict[str, Any] = {
    "imagePullPolicy": "Always",
    "imagePullSecrets": ["registry", "mirror"],
    "resources": {"requests": {"cpu": 1, "memory": "1Gi"}},
    "settings": {"HILBERT_LOG__LEVEL": "debug", "HILBERT_GATEWAY__WORKERS": 2, "HILBERT_GATEWAY__ACCESS_LOG": True},
    "basicAuthSecret": "ours",
    "serviceAnnotations": {"example.com/internal": "true"},
    "nodeSelector": {"pool": "platform"},
    "tolerations": [{"key": "platform", "operator": "Exists"}],
    "priorityClassName": "high",
    "podAnnotations": {"team": "ours: 'quoted' {{ }}", "prometheus.io.port": "1"},
    "ingress": {"enabled": True, "host": "fn.example.com", "className": "nginx", "tlsSecret": "tls"},
}


def test_every_value_lands_where_it_belongs() -> None:
    made = by_identity(helm.rendered(CHART, EVERYTHING))
    for manifest in made.values():
        kubernetes_validate.validate(manifest, "1.32", strict=manifest["kind"] != "CustomResourceDefinition")
    template = made["Deployment", "openfaas", "gateway"]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"]["requests"]["memory"] == "1Gi"
    assert container["resources"]["limits"] == {"memory": "1Gi"}, "values are merged over the defaults"
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert (env["HILBERT_LOG__LEVEL"], env["HILBERT_GATEWAY__WORKERS"], env["HILBERT_GATEWAY__ACCESS_LOG"]) == (
        "debug",
        "2",
        "true",
    )
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"pool": "platform"}, "high")
    assert pod["tolerations"] == [{"key": "platform", "operator": "Exists"}]
    assert {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume} == {"ours"}
    assert template["metadata"]["annotations"] == {
        "team": "ours: 'quoted' {{ }}",
        "prometheus.io.scrape": "true",
        "prometheus.io.port": "1",
    }
    assert made["Service", "openfaas", "gateway"]["metadata"]["annotations"] == {"example.com/internal": "true"}
    assert ("Secret", "openfaas", "ours") in made
    ingress = made["Ingress", "openfaas", "gateway"]["spec"]
    assert ingress["ingressClassName"] == "nginx"
    assert ingress["tls"] == [{"hosts": ["fn.example.com"], "secretName": "tls"}]
    assert [rule["host"] for rule in ingress["rules"]] == ["fn.example.com"]


def test_what_is_not_asked_for_is_not_there() -> None:
    kinds = {manifest["kind"] for manifest in helm.rendered(CHART)}
    assert "Ingress" not in kinds
    assert "Secret" in kinds
    for makes, values in ((True, {}), (False, {"generateBasicAuth": False})):
        secrets = [one["metadata"]["name"] for one in helm.rendered(CHART, values) if one["kind"] == "Secret"]
        assert set(secrets) == {*SHELVES, *(["basic-auth"] if makes else [])}


def test_a_service_monitor_by_value() -> None:
    """Prometheus finds the metrics port by labels, on a Service that nothing outside can reach, and may go there."""
    assert not [item for item in helm.rendered(CHART) if "metrics" in item["metadata"]["name"]]
    values = {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}, "interval": "10s"}}
    made = by_identity(helm.rendered(CHART, values))
    service = made["Service", "openfaas", "gateway-metrics"]
    monitor = made["ServiceMonitor", "openfaas", "gateway-metrics"]
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    (container,) = made["Deployment", "openfaas", "gateway"]["spec"]["template"]["spec"]["containers"]
    for endpoint in monitor["spec"]["endpoints"]:
        assert ports[endpoint["port"]] in {port["name"] for port in container["ports"]}
        assert endpoint["interval"] == "10s"
    assert service["spec"]["selector"] == made["Service", "openfaas", "gateway"]["spec"]["selector"]
    assert service["spec"]["clusterIP"] == "None"
    assert ("NetworkPolicy", "openfaas", "gateway-metrics") not in made
    values["serviceMonitor"]["prometheusNamespace"] = "watching"
    policy = by_identity(helm.rendered(CHART, values))["NetworkPolicy", "openfaas", "gateway-metrics"]
    kubernetes_validate.validate(policy, "1.32", strict=True)
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "watching"}


def test_values_cannot_break_out_of_their_place() -> None:
    """A value is a value, whatever is in it."""
    image = 'x:1"\n        command: ["sh"]'
    (container,) = deployment({"image": image})["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert "command" not in container


@pytest.mark.parametrize("values", [{}, {"clusterRole": False}, EVERYTHING])
def test_helm_lints_it_without_a_warning(values: dict[str, Any]) -> None:
    report = helm.run("lint", CHART, values)
    told = [(message["severity"], message["error"]) for message in report["messages"]]
    assert told == [(1, "icon is recommended")]
    assert report["errors"] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replica": 3}, "replica"),
        ({"namespaces": []}, "namespaces"),
        ({"namespaces": ["kube-system"]}, "namespaces"),
        ({"namespaces": ["Big"]}, "namespaces"),
        ({"serviceType": "Public"}, "serviceType"),
        ({"ingress": {"enabled": True}}, "host"),
        ({"clusterRole": "no"}, "clusterRole"),
        ({"serviceMonitor": {"enabled": True, "interval": "often"}}, "interval"),
        ({"serviceMonitor": {"prometheusNamespace": "Big"}}, "prometheusNamespace"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        helm.rendered(CHART, values)


def test_every_value_is_documented_and_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert set(yaml.safe_load(text)) == set(schema["properties"]) - {"global"}
    assert set(yaml.safe_load(text)["ingress"]) == set(schema["properties"]["ingress"]["properties"])
