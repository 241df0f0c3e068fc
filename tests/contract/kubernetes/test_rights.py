"""The rights table against the requests that are really made, both ways: nothing missing, nothing spare.

The double enforces RBAC from the roles that the installation makes, so whatever is missing fails with 403; whatever was
never asked for is spare.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from hilbert.core.errors import BackendUnavailable, Conflict
from hilbert.core.model import FunctionSpec, LogQuery, Namespace, Secret
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import Duration, FunctionRef, NamespaceName, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import APPLY
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.install import plan, rights
from hilbert.providers.kubernetes.provider import KubernetesProvider
from support.cluster import ACCOUNT, Double, gateway, installed, until

pytestmark = [pytest.mark.anyio, pytest.mark.double("requests are compared with the rights")]

Use = tuple[str, str, str]
"""Group, resource and verb."""

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def uses(cluster: Double) -> set[Use]:
    """What the gateway's account asked for."""
    found: set[Use] = set()
    for call in cluster.requests:
        if call.user != ACCOUNT:
            continue
        assert call.status != 403, f"{call.method} {call.path} is not allowed"
        parts = call.path.strip("/").split("/")
        group = parts[1] if parts[0] == "apis" else ""
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        if rest[0] == "namespaces" and len(rest) > 2:
            rest = rest[2:]
        resource = "/".join((rest[0], *rest[2:3]))
        if call.method == "GET":
            verb = "get" if len(rest) > 1 else "watch" if "watch" in call.query else "list"
        else:
            verb = _VERBS[call.method]
        found.add((group, resource, verb))
        if call.method == "PATCH" and call.content_type == APPLY and call.status == 201:
            found.add((group, resource, "create"))
    return found


def granted(*wheres: rights.Where) -> set[Use]:
    return {
        (right.group, right.resource, verb) for right in rights.RIGHTS if right.where in wheres for verb in right.verbs
    }


async def use_functions(cluster: Double, provider: KubernetesProvider, namespace: str) -> None:
    """Everything that is done to functions, secrets and logs."""
    name, where = SecretName("token"), NamespaceName(namespace)
    await provider.create_secret(Secret(where, name, b"1"))
    await provider.update_secret(Secret(where, name, b"2"))
    await provider.list_secrets(where)
    spec = FunctionSpec(ref=FunctionRef.parse(f"echo.{namespace}"), image="echo:1", secrets=(name,))
    await provider.apply(spec, create=True)
    await provider.apply(msgspec.structs.replace(spec, image="echo:2"), create=False)
    await provider.scale(spec.ref, 2)
    await provider.get(spec.ref)
    await provider.list(where)
    for _ in range(2):  # The second time it is counted.
        provider.notice(spec.ref, "ScaledUp", "1 => 2 replicas")
    await until(lambda: any(call.method == "PATCH" and "/events/" in call.path for call in cluster.requests))
    labels = {"faas_function": "echo"}
    strict = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    containers = [{"name": "echo", "image": "echo:2", "securityContext": strict}]
    pod = {"runAsNonRoot": True, "runAsUser": 12000, "seccompProfile": {"type": "RuntimeDefault"}}
    cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "echo-1", "namespace": namespace, "labels": labels},
            "spec": {"containers": containers, "securityContext": pod, "automountServiceAccountToken": False},
        }
    )

    async def read_log() -> bool:
        with contextlib.suppress(BackendUnavailable):
            async for _ in provider.read_logs(LogQuery(ref=spec.ref)):
                pass
        return any(call.path.endswith("/log") for call in cluster.requests)

    await until(read_log)
    await provider.update_secret(Secret(where, name, b"3"))
    await until(lambda: any(call.path.endswith("/status") for call in cluster.requests))
    await provider.remove(spec.ref)
    await provider.delete_secret(where, name)


async def use_namespaces(provider: KubernetesProvider) -> None:
    """Everything that is done to tenants."""
    dev = NamespaceName("dev")
    quota = {"com.hilbert.quota.memory": "1Gi"}
    await provider.create_namespace(Namespace(name=dev, annotations=quota))
    off = {f"com.hilbert.tenant.{piece}": "off" for piece in ("quota", "limits", "network")}
    await provider.update_namespace(Namespace(name=dev, annotations=off))
    task = asyncio.ensure_future(provider.delete_namespace(dev))
    try:
        await asyncio.wait_for(asyncio.shield(task), 1.0)
    except TimeoutError:
        task.cancel()
    except Conflict:
        await provider.delete_namespace(dev, force=True)


async def renew_lease(cluster: Double, provider: KubernetesProvider) -> None:
    await provider.leadership.wait()
    await until(lambda: any(call.method == "PUT" and "/leases/" in call.path for call in cluster.requests))


async def count_calls(cluster: Double, provider: KubernetesProvider) -> None:
    """Share the counts of calls, and take them back."""
    provider.share_counts(dict)
    await until(lambda: any(call.method == "GET" and call.path.endswith("/leases") for call in cluster.requests))
    await provider._counts.stop()


async def test_cluster_wide_rights_are_exactly_what_is_used() -> None:
    async with installed(controllers=False) as cluster, gateway(cluster, lease_duration=Duration.of(1)) as provider:
        await renew_lease(cluster, provider)
        await count_calls(cluster, provider)
        await use_functions(cluster, provider, "openfaas-fn")
        await use_namespaces(provider)
        assert uses(cluster) == granted("cluster", "functions", "platform")


async def test_rights_in_listed_namespaces_are_exactly_what_is_used() -> None:
    options = plan.Options(cluster_role=False, namespaces=("dev-fn",))
    async with (
        installed(options, controllers=False) as cluster,
        gateway(cluster, namespaces="dev-fn", lease_duration=Duration.of(1)) as provider,
    ):
        await renew_lease(cluster, provider)
        await count_calls(cluster, provider)
        await use_functions(cluster, provider, "dev-fn")
        assert uses(cluster) == granted("functions", "platform")
        for call in cluster.requests:
            if call.user == ACCOUNT:
                assert "/namespaces/dev-fn" in call.path or "/namespaces/openfaas/" in call.path, call.path


async def test_a_missing_right_is_told_and_costs_nothing_else() -> None:
    """Secrets taken away: functions without secrets go on."""
    async with installed(controllers=False) as cluster, gateway(cluster) as provider:
        admin = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
        role = cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io")
        assert role is not None
        rules = [rule for rule in role["rules"] if rule["resources"] != ["secrets"]]
        roles = kinds.Kind("rbac.authorization.k8s.io", "v1", "clusterroles", kinds.Object, namespaced=False)
        await admin.patch(roles, "openfaas-hilbert", {"rules": rules})
        await admin.close()
        with pytest.raises(BackendUnavailable, match="is not allowed to do this"):
            await provider.list_secrets(NamespaceName("openfaas-fn"))
        await provider.apply(FunctionSpec(ref=FunctionRef.parse("echo"), image="echo:1"))
