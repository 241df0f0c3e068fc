"""The installation as its user runs it: the installed command, and kubectl, against the double."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from hilbert.core.model import FunctionSpec, Namespace
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.providers.kubernetes.install import plan
from support.cluster import Double, gateway, until

pytestmark = [pytest.mark.anyio, pytest.mark.double("it installs into namespaces that a cluster has once")]

DEPLOY = Path(__file__).parents[3] / "deploy" / "kubernetes"
BIN = Path(sys.executable).parent
KUBECTL = shutil.which("kubectl", path=str(BIN)) or shutil.which("kubectl")
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
async def cluster() -> AsyncIterator[Double]:
    async with Double(controllers=False) as cluster:
        yield cluster


async def run(*command: str | Path, kubeconfig: Path) -> tuple[int, str, str]:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), error.decode()


async def hilbert(cluster: Double, *arguments: str, kubeconfig: Path | None = None) -> tuple[int, str, str]:
    return await run(BIN / "hilbert", "install", "kubernetes", *arguments, kubeconfig=kubeconfig or cluster.kubeconfig)


def there(cluster: Double) -> set[tuple[str, str, str]]:
    found = set()
    for manifest in plan.make(plan.Options()).every():
        resource = cluster.engine.registry.of_kind(manifest["apiVersion"], manifest["kind"])
        assert resource is not None
        metadata = manifest["metadata"]
        item = cluster.object(resource.plural, metadata["name"], metadata.get("namespace", ""), group=resource.group)
        if item is not None:
            found.add((manifest["kind"], metadata.get("namespace", ""), metadata["name"]))
    return found


def wanted() -> set[tuple[str, str, str]]:
    manifests = plan.make(plan.Options()).every()
    return {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]) for m in manifests}


async def test_the_command_installs_everything_and_can_be_run_again(cluster: Double) -> None:
    code, out, error = await hilbert(cluster)
    assert (code, error) == (0, "")
    assert f"Installed {len(wanted())} objects" in out
    assert "get secret basic-auth" in out, "said to pipes, too: a password that nobody finds is lost"
    assert there(cluster) == wanted()
    secret = cluster.object("secrets", "basic-auth", "openfaas")
    assert secret is not None
    before = {
        item["metadata"]["uid"]: item["metadata"]["resourceVersion"]
        for item in cluster.objects("deployments", "openfaas", group="apps")
    }
    assert (await hilbert(cluster))[0] == 0
    again = cluster.object("secrets", "basic-auth", "openfaas")
    assert again is not None
    assert again["data"] == secret["data"], "a password that is there is kept"
    after = {
        item["metadata"]["uid"]: item["metadata"]["resourceVersion"]
        for item in cluster.objects("deployments", "openfaas", group="apps")
    }
    assert after == before, "what says the same is left alone"


async def test_a_platform_that_stands_there_already_is_not_taken_over(cluster: Double) -> None:
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "openfaas"}})
    labels = {"app": "gateway"}
    pod = {"containers": [{"name": "gateway", "image": "ghcr.io/openfaas/gateway:0.27"}]}
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "gateway", "namespace": "openfaas", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    cluster.put(theirs)
    code, _, error = await hilbert(cluster)
    assert (code, "probably OpenFaaS's" in error) == (1, True)
    assert cluster.objects("customresourcedefinitions", group="apiextensions.k8s.io") == [], "nothing was changed"


async def test_printed_manifests_have_no_anchors(cluster: Double) -> None:
    code, out, _ = await hilbert(cluster, "--dry-run")
    assert code == 0
    assert not re.search(r"[&*]id\d", out)
    assert list(yaml.safe_load_all(out)) == plan.make(plan.Options()).every()


async def test_what_it_installs_is_enough_for_a_gateway(cluster: Double) -> None:
    assert (await hilbert(cluster))[0] == 0
    async with gateway(cluster) as provider:
        await provider.apply(FunctionSpec(ref=FunctionRef.parse("echo"), image="echo:1"))
        await until(lambda: cluster.object("deployments", "echo", "openfaas-fn", group="apps"))


async def test_upgrading_takes_nothing_away_that_was_set_through_the_api(cluster: Double) -> None:
    assert (await hilbert(cluster))[0] == 0
    default = NamespaceName("openfaas-fn")
    wished = {"com.hilbert.quota.replicas": "7", "com.hilbert.network.internet": "closed"}

    def pieces() -> set[str]:
        found = cluster.objects("networkpolicies", default, group="networking.k8s.io")
        return {item["metadata"]["name"] for item in (*found, *cluster.objects("resourcequotas", default))}

    async with gateway(cluster) as provider:
        await provider.leadership.wait()
        await provider.update_namespace(Namespace(name=default, annotations=wished))
        await until(lambda: pieces() == {"hilbert", "hilbert-deny", "hilbert-from-gateway", "hilbert-to-dns"})
        before = pieces()
        assert (await hilbert(cluster, "--image", "hilbert:next"))[0] == 0
        assert dict((await provider.get_namespace(default)).annotations).items() >= wished.items()
        assert pieces() == before


async def test_without_cluster_rights_it_passes_over_what_an_administrator_does(cluster: Double) -> None:
    """The installer may do everything in its namespaces, and nothing else."""
    for name in ("openfaas", "dev-fn"):
        cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        subject = {"kind": "User", "name": "team", "apiGroup": "rbac.authorization.k8s.io"}
        everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "team"}
        metadata = {"name": "team", "namespace": name}
        rbac = "rbac.authorization.k8s.io/v1"
        cluster.put({"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": everything})
        cluster.put(
            {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}
        )
    team = cluster.kubeconfig_for("team")
    arguments = ("--no-cluster-role", "--namespaces", "dev-fn")
    code, _, error = await hilbert(cluster, *arguments, kubeconfig=team)
    assert code == 0
    assert "CustomResourceDefinition functions.openfaas.com" in error
    assert "kubectl apply -k deploy/kubernetes/definitions" in error, "says what is still to be done"
    assert cluster.object("roles", "hilbert-functions", "dev-fn", group="rbac.authorization.k8s.io") is not None
    assert cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io") is None
    code, _, error = await hilbert(cluster, kubeconfig=team)
    assert code == 1
    assert "--no-cluster-role" in error, "says what to do"


async def test_whoever_is_admin_of_its_namespaces_can_install_there(cluster: Double) -> None:
    """With the cluster's own role `admin`, as the guide says; nobody may grant what they do not hold."""
    for name in ("openfaas", "dev-fn", "prod-fn"):
        cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        cluster.put(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "owner", "namespace": name},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
                "subjects": [{"kind": "User", "name": "owner", "apiGroup": RBAC}],
            }
        )
    owner = cluster.kubeconfig_for("owner")
    arguments = ("--no-cluster-role", "--no-definitions", "--namespaces", "dev-fn,prod-fn")
    code, _, error = await hilbert(cluster, *arguments, kubeconfig=owner)
    assert (code, "not currently held" in error) == (1, True)
    assert "kubectl apply -k deploy/kubernetes/definitions" in error, "says who has to do what first"
    for manifest in plan.make(plan.Options()).definitions:
        cluster.put(manifest)
    code, _, error = await hilbert(cluster, *arguments, kubeconfig=owner)
    assert code == 0, error
    assert cluster.object("deployments", "gateway", "openfaas", group="apps") is not None
    for name in ("dev-fn", "prod-fn"):
        assert cluster.object("rolebindings", "hilbert-functions", name, group=RBAC) is not None
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "others-fn"}})
    code, _, error = await hilbert(cluster, "--no-cluster-role", "--namespaces", "others-fn", kubeconfig=owner)
    assert code == 1
    assert "ClusterRole admin" in error


async def test_waiting_for_a_gateway_that_does_not_come_says_so(cluster: Double) -> None:
    code, _, error = await hilbert(cluster, "--wait", "--timeout", "1s")
    assert code == 1
    assert "0 of 2 replicas are ready" in error


async def test_a_cluster_that_cannot_be_reached_says_so(cluster: Double, tmp_path: Path) -> None:
    code, _, error = await hilbert(cluster, "--kubeconfig", str(tmp_path / "absent"))
    assert code == 1
    assert "kubeconfig" in error
    await cluster.refuse()
    code, _, error = await hilbert(cluster)
    assert code == 1
    assert "cannot be reached" in error


@pytest.mark.parametrize("overlay", ["cluster-wide", "split"])
async def test_kubectl_applies_the_overlays(cluster: Double, overlay: str) -> None:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    for _ in range(2):
        code, _, error = await run(
            *(KUBECTL, "apply", "--server-side", "-k", DEPLOY / "overlays" / overlay), kubeconfig=cluster.kubeconfig
        )
        if code == 0:
            break
    assert code == 0, error
    assert cluster.object("deployments", "gateway", "openfaas", group="apps") is not None
    cluster_role = cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io")
    assert (cluster_role is not None) is (overlay == "cluster-wide")


async def test_uninstalling_as_the_guide_says_leaves_functions_to_the_next_installation() -> None:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    spec = FunctionSpec(ref=FunctionRef.parse("echo"), image="echo:1")
    async with Double() as cluster:

        async def kubectl(*arguments: str) -> None:
            code, _, error = await run(KUBECTL or "", *arguments, kubeconfig=cluster.kubeconfig)
            assert code == 0, error

        assert (await hilbert(cluster))[0] == 0
        async with gateway(cluster) as provider:
            await provider.apply(spec)
        await kubectl("delete", "namespace", "openfaas")
        await kubectl("delete", "clusterrole,clusterrolebinding", "openfaas-hilbert")
        assert cluster.object("deployments", "echo", "openfaas-fn", group="apps") is not None
        left = [item["metadata"]["name"] for item in cluster.objects("clusterroles", group=RBAC)]
        assert not [name for name in left if "hilbert" in name]
        assert "openfaas-functions-edit" in left, "comes and goes with the definitions"
        assert (await hilbert(cluster))[0] == 0
        async with gateway(cluster) as provider:
            assert (await provider.get(spec.ref)).spec == spec
            await provider.scale(spec.ref, 2)
        await kubectl("delete", "namespace", "openfaas-fn")
        await kubectl("delete", "-k", str(DEPLOY / "definitions"))
        assert cluster.objects("customresourcedefinitions", group="apiextensions.k8s.io") == []
        assert cluster.controllers.errors == []
