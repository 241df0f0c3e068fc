"""A tenant that may do all with its functions tries to take what only an administrator gives, by each way that leads to a Deployment."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hilbert.core.errors import HilbertError
from hilbert.core.model import FunctionSpec
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object
from support.cluster import AnyCluster, until

pytestmark = pytest.mark.anyio

IMAGE = "registry.invalid/echo:1"
TAKEN: dict[str, dict[str, Any]] = {
    "a service account": {"annotations": {"com.openfaas.serviceaccount": "hilbert"}},
    "a profile": {"annotations": {"com.openfaas.profile": "weak"}},
    "a node": {"constraints": ["node-role.kubernetes.io/control-plane=true"]},
}
"""As a custom resource has them."""


@pytest.fixture
def controllers() -> bool:
    return False


@pytest.fixture
def echo(cluster: AnyCluster) -> FunctionSpec:
    return FunctionSpec(ref=cluster.ref("echo"), image=IMAGE)


def taking(echo: FunctionSpec, what: str) -> FunctionSpec:
    given = TAKEN[what]
    return msgspec.structs.replace(
        echo, annotations=given.get("annotations", {}), constraints=tuple(given.get("constraints", ()))
    )


def pod(cluster: AnyCluster) -> dict[str, Any]:
    found = cluster.object("deployments", "echo", cluster.default, group="apps")
    template: dict[str, Any] = found["spec"]["template"]["spec"] if found is not None else {}
    return {key: template.get(key) for key in ("serviceAccountName", "runtimeClassName", "nodeSelector", "hostNetwork")}


def stalled(cluster: AnyCluster) -> str:
    found = cluster.object("functions", "echo", cluster.default, group="openfaas.com")
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    return next((one["message"] for one in conditions if one["type"] == "Stalled" and one["status"] == "True"), "")


async def govern(cluster: AnyCluster, provider: KubernetesProvider, admin: Api) -> None:
    """What the administrator has said: where functions may choose nodes; and a profile that weakens isolation, for others."""
    await provider.leadership.wait()
    limited = {"metadata": {"annotations": {"com.hilbert.constraints.allowed": "kubernetes.io/arch"}}}
    await admin.patch(kinds.NAMESPACES, cluster.default, limited)
    await until(lambda: "com.hilbert.constraints.allowed" in (provider._state.tenant(cluster.default).annotations))  # type: ignore[union-attr]
    runtime = cluster.name("weak")
    cluster.put(
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": runtime}, "handler": "weak"}
    )
    cluster.put(
        {
            "apiVersion": "openfaas.com/v1",
            "kind": "Profile",
            "metadata": {"name": "weak", "namespace": cluster.platform},
            "spec": {"podSecurityContext": {"runAsUser": 0}, "runtimeClassName": runtime},
        }
    )


@pytest.mark.parametrize("what", TAKEN)
async def test_by_deploying_and_by_updating(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec, what: str
) -> None:
    """As `hilbert deploy`, a stack file and OpenFaaS's clients do, all of which end here."""
    await govern(cluster, provider, admin)
    with pytest.raises(HilbertError):
        await provider.apply(taking(echo, what), create=True)
    assert cluster.object("deployments", "echo", cluster.default, group="apps") is None
    await provider.apply(echo)
    before = pod(cluster)
    with pytest.raises(HilbertError):
        await provider.apply(taking(echo, what))
    await provider.scale(echo.ref, 2)
    await provider.restart(echo.ref)
    assert pod(cluster) == before


@pytest.mark.parametrize("what", TAKEN)
async def test_by_a_custom_resource(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec, what: str
) -> None:
    """Made, and edited, with kubectl. What scales or restarts it afterwards, an alert for one, lets nothing in either."""
    await govern(cluster, provider, admin)
    manifest = function_object.to_object(echo)
    manifest["spec"] |= TAKEN[what]
    await admin.create(kinds.FUNCTIONS, manifest, cluster.default)
    await until(lambda: stalled(cluster))
    assert cluster.object("deployments", "echo", cluster.default, group="apps") is None
    clean = dict.fromkeys(TAKEN[what])
    await admin.patch(kinds.FUNCTIONS, "echo", {"spec": clean}, cluster.default)
    await until(lambda: cluster.object("deployments", "echo", cluster.default, group="apps"))
    await until(lambda: not stalled(cluster))
    before = pod(cluster)
    await admin.patch(kinds.FUNCTIONS, "echo", {"spec": TAKEN[what]}, cluster.default)
    await until(lambda: stalled(cluster))
    for act in (lambda: provider.scale(echo.ref, 3), lambda: provider.restart(echo.ref)):
        try:
            await act()
        except HilbertError:
            continue  # It says that the function cannot be deployed as it is: as good.
    assert pod(cluster) == before


async def test_by_what_a_namespace_says_of_itself_in_a_function(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    """Annotations and labels of a function that would govern as a namespace's."""
    keys = {
        "com.hilbert.service-accounts": "hilbert", "com.hilbert.profiles.allowed": "*", "com.hilbert.constraints.allowed": "*",
        "com.hilbert.network.internet": "true", "com.hilbert.quota.functions": "99",
    }  # fmt: skip
    await govern(cluster, provider, admin)
    await provider.apply(msgspec.structs.replace(echo, annotations=keys))
    for what in TAKEN:
        spec = taking(echo, what)
        with pytest.raises(HilbertError):
            await provider.apply(msgspec.structs.replace(spec, annotations={**keys, **spec.annotations}))
    assert pod(cluster)["serviceAccountName"] in (None, "default")
