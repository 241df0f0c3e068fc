"""What an installation that goes wrong says: always what to do next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hilbert.core.errors import BackendError, BackendUnavailable, HilbertError
from hilbert.core.model import FunctionSpec
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.install import plan, run
from hilbert.providers.kubernetes.provider import KubernetesProvider
from kubernetes_double import scripts
from support.cluster import ACCOUNT, Double, gateway, install, make_gateway, until

pytestmark = [pytest.mark.anyio, pytest.mark.double("it installs, and requests are refused")]

RBAC = "rbac.authorization.k8s.io"
DEFINE = "kubectl apply -k deploy/kubernetes/definitions"
AGAIN = "run the command again"
STARTING = 'functions is forbidden: User "u" cannot list: RBAC: clusterrole.rbac.authorization.k8s.io "admin" not found'


async def refused(cluster: Double, options: plan.Options | None = None, *, user: str = "", wait: float = 0) -> str:
    """The error and the hint of an installation that fails."""
    kubeconfig = cluster.kubeconfig_for(user) if user else cluster.kubeconfig
    settings = KubernetesSettings(kubeconfig=str(kubeconfig))
    with pytest.raises(HilbertError) as caught:
        await run.install(options or plan.Options(), settings, wait=wait)
    assert caught.value.hint, f"does not say what to do: {caught.value.message}"
    return f"{caught.value.message} | {caught.value.hint}"


def grant(cluster: Double, user: str, *namespaces: str, role: str = "admin") -> None:
    for name in namespaces:
        cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        metadata = {"name": "owner", "namespace": name}
        subject = {"kind": "User", "name": user, "apiGroup": RBAC}
        binding = {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": metadata, "subjects": [subject]}
        cluster.put({**binding, "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}})


SPLIT = plan.Options(cluster_role=False, namespaces=("dev-fn",), definitions=False)


async def test_without_definitions() -> None:
    async with Double(controllers=False) as cluster:
        settings = KubernetesSettings(kubeconfig=str(cluster.kubeconfig))
        (step,) = (await run.install(plan.Options(definitions=False), settings)).next_steps
        assert DEFINE in step
        told = await refused(cluster, plan.Options(definitions=False), wait=30.0)
        assert "no definitions of Function and Profile" in told
        assert DEFINE in told
        for manifest in plan.make(plan.Options()).definitions:
            cluster.put(manifest)
        assert (await run.install(plan.Options(definitions=False), settings)).next_steps == []


@pytest.mark.parametrize(
    ("role", "said"), [("admin", DEFINE), ("edit", "ClusterRole admin in each"), ("view", "ClusterRole admin in each")]
)
async def test_without_the_rights_that_come_with_the_definitions(role: str, said: str) -> None:
    async with Double(controllers=False) as cluster:
        grant(cluster, "owner", "openfaas", "dev-fn", role=role)
        assert said in await refused(cluster, SPLIT, user="owner")


async def test_without_any_rights() -> None:
    async with Double(controllers=False) as cluster:
        assert "--no-cluster-role" in await refused(cluster, user="nobody")
        assert "ClusterRole admin in each of these namespaces: openfaas, dev-fn" in await refused(
            cluster, SPLIT, user="nobody"
        )


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (401, "Unauthorized", "does not accept these credentials"),
        (403, STARTING, "has just started"),
        (410, "too old resource version", AGAIN),
        (404, 'namespaces "openfaas" not found', "kubectl create namespace openfaas"),
        (404, "the server could not find the requested resource", "1.30 or newer"),
        (409, "Operation cannot be fulfilled", AGAIN),
        (500, "etcdserver: leader changed", AGAIN),
        (503, "apiserver not ready", AGAIN),
    ],
)
async def test_requests_that_are_refused_on_the_way(code: int, message: str, said: str) -> None:
    async with Double(controllers=False) as cluster:
        cluster.chaos.fail(code, times=-1, method="PATCH", path="/roles/hilbert", message=message)
        assert said in await refused(cluster)


async def test_a_cluster_that_goes_away_on_the_way() -> None:
    async with Double(controllers=False) as cluster:
        settings = KubernetesSettings(kubeconfig=str(cluster.kubeconfig))
        await cluster.refuse()
        with pytest.raises(BackendUnavailable) as caught:
            await run.install(plan.Options(), settings)
        assert AGAIN in caught.value.hint
        await cluster.listen()
        assert (await run.install(plan.Options(), settings)).applied


async def test_a_gateway_that_runs_and_is_not_ready() -> None:
    async with Double() as cluster:
        cluster.images[plan.IMAGE] = scripts.Outcome(ready=False)
        told = await refused(cluster, plan.Options(replicas=1), wait=1.0)
        assert "kubectl --namespace openfaas logs deployment/gateway" in told
        assert "the function is running" not in told


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (404, "", DEFINE),
        (403, "", "hilbert install kubernetes again"),
        (403, STARTING, "has just started"),
        (401, "", "restart its Pods"),
    ],
)
async def test_a_gateway_that_cannot_read_the_cluster(code: int, message: str, said: str) -> None:
    async with Double(controllers=False) as cluster:
        install(cluster)
        cluster.chaos.fail(code, times=-1, path="/functions$", message=message)
        provider: KubernetesProvider = make_gateway(cluster)
        await provider.start()
        try:

            async def is_told() -> bool:
                return said in (await provider.facts()).get("warning.sync", "")

            await until(is_told, what=said)
            with pytest.raises(BackendUnavailable, match="still reading the cluster") as caught:
                await provider.get(FunctionRef.parse("f"))
            assert said in caught.value.hint
            cluster.chaos.faults.clear()
            await provider.wait_ready()
        finally:
            await provider.close()


async def test_a_right_that_is_missing_for_one_request() -> None:
    async with Double(controllers=False) as cluster:
        install(cluster)
        async with gateway(cluster) as provider:
            cluster.chaos.fail(403, times=-1, path="/secrets")
            with pytest.raises(BackendUnavailable) as caught:
                await provider.list_secrets(NamespaceName("openfaas-fn"))
            assert "hilbert install kubernetes again" in caught.value.hint
            with pytest.raises((BackendUnavailable, BackendError)):
                await provider.apply(FunctionSpec(ref=FunctionRef.parse("f"), image="i", secrets=("s",)))  # type: ignore[arg-type]
        assert any(call.user == ACCOUNT for call in cluster.requests)


NULLS: dict[str, Any] = {
    "metadata": {
        "name": "n",
        "namespace": None,
        "uid": "u",
        "labels": None,
        "annotations": None,
        "ownerReferences": None,
        "deletionTimestamp": None,
        "generation": None,
    },
    "spec": None,
    "status": None,
    "data": None,
    "type": None,
    "endpoints": None,
    "ports": None,
    "addressType": None,
}


@pytest.mark.parametrize("kind", [kind for kind in vars(kinds).values() if isinstance(kind, kinds.Kind)], ids=str)
def test_nulls_anywhere_are_nothing(kind: kinds.Kind[Any]) -> None:
    found = kind.decode(json.dumps(NULLS).encode())
    assert (found.metadata.name, dict(found.labels), dict(found.annotations)) == ("n", {}, {})


async def test_a_function_of_nulls_is_told_of_and_hides_no_other() -> None:
    async with Double(controllers=False) as cluster:
        install(cluster)
        async with gateway(cluster) as provider:
            await provider.leadership.wait()
            metadata = {"name": "f", "namespace": "openfaas-fn"}
            cluster.put(
                {
                    "apiVersion": "openfaas.com/v1",
                    "kind": "Function",
                    "metadata": metadata,
                    "spec": {"name": "f", "image": "i", "environment": None, "labels": None, "secrets": None},
                }
            )
            api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
            nothing = {"status": {"conditions": None, "observedGeneration": None}}
            await api.patch(kinds.FUNCTIONS, "f", nothing, "openfaas-fn", sub="status")
            await api.close()
            await until(lambda: cluster.object("deployments", "f", "openfaas-fn", group="apps"))
            assert [one.spec.ref.name for one in await provider.list(NamespaceName("openfaas-fn"))] == ["f"]
