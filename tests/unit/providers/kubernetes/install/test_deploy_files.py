"""What stands in `deploy/kubernetes` is what the code makes, and what tools make of it is what the plan says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hilbert.core.errors import InvalidSettings
from hilbert.providers.kubernetes.install import files, plan

DEPLOY = Path(__file__).parents[5] / "deploy" / "kubernetes"
_UNKNOWN_TO_THE_SCHEMAS = {"Kustomization"}


def identity(manifest: dict[str, Any]) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def by_identity(manifests: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    assert len({identity(manifest) for manifest in manifests}) == len(manifests)
    return {identity(manifest): manifest for manifest in manifests}


def test_files_are_in_step_with_the_code() -> None:
    made = files.every()
    there = {str(path.relative_to(DEPLOY)): path.read_text() for path in DEPLOY.rglob("*") if path.is_file()}
    assert there == made, "run: python -m hilbert.providers.kubernetes.install.files deploy/kubernetes"


@pytest.mark.parametrize("cluster_role", [True, False])
def test_every_manifest_follows_the_official_schema(cluster_role: bool) -> None:
    manifests = plan.make(plan.Options(cluster_role=cluster_role, namespaces=("a", "b"))).every()
    by_identity(manifests)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.32", strict=manifest["kind"] != "CustomResourceDefinition")


@pytest.mark.parametrize(("overlay", "cluster_role"), [("cluster-wide", True), ("split", False)])
def test_kustomize_makes_the_plan(overlay: str, cluster_role: bool) -> None:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(DEPLOY / "overlays" / overlay)], capture_output=True, check=True)
    made = by_identity(list(yaml.safe_load_all(done.stdout)))
    options = plan.Options(cluster_role=cluster_role, definitions=cluster_role)
    wanted = by_identity(plan.make(options).every())
    for manifest in (*made.values(), *wanted.values()):
        sort_environment(manifest)
    assert made == wanted


def test_kustomize_adds_a_service_monitor(tmp_path: Path) -> None:
    """As the guides say: an overlay of one's own, with the components."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    shutil.copytree(DEPLOY, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "ours"
    overlay.mkdir()
    text = "resources: [../cluster-wide]\ncomponents: [../../components/service-monitor, ../../components/nats]\n"
    (overlay / "kustomization.yaml").write_text(text)
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, check=True)
    made = by_identity(list(yaml.safe_load_all(done.stdout)))
    for kind in ("Service", "ServiceMonitor", "NetworkPolicy"):
        assert (kind, "openfaas", "gateway-metrics") in made
    assert ("StatefulSet", "openfaas", "nats") in made
    gateway = made["Deployment", "openfaas", "gateway"]["spec"]["template"]["spec"]["containers"][0]
    names = [entry["name"] for entry in gateway["env"]]
    assert names.index("NATS_PASSWORD") < names.index("HILBERT_QUEUE__NATS_URL"), "it stands in the address"
    assert "HILBERT_PROVIDER__NAME" in names


def sort_environment(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "Deployment":
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            container["env"].sort(key=lambda entry: entry["name"])


def test_split_installation_has_nothing_cluster_wide() -> None:
    made = plan.make(plan.Options(cluster_role=False, definitions=False, namespaces=("a", "b"))).every()
    assert {manifest["kind"] for manifest in made if "namespace" not in manifest["metadata"]} == {"Namespace"}


@pytest.mark.parametrize("cluster_role", [True, False])
def test_no_right_is_wild(cluster_role: bool) -> None:
    for manifest in plan.make(plan.Options(cluster_role=cluster_role)).rights:
        for rule in manifest.get("rules", ()):
            assert "*" not in {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}
            assert not {"nodes", "nodes/proxy", "pods/exec", "pods/attach"} & set(rule["resources"])


@pytest.mark.parametrize(
    "options",
    [
        plan.Options(namespaces=()),
        plan.Options(namespaces=("kube-system",)),
        plan.Options(namespaces=("openfaas",)),
        plan.Options(namespace="p", namespaces=("p",)),
        plan.Options(replicas=0),
    ],
)
def test_choices_that_cannot_work_are_refused(options: plan.Options) -> None:
    with pytest.raises(InvalidSettings):
        plan.make(options)
