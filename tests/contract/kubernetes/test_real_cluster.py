"""A real cluster, when there is one: `HILBERT_TEST_CLUSTER=1 KUBECONFIG=... pytest tests/contract/kubernetes/test_real_cluster.py`.

It works in namespaces of its own (`hilbert-test-*`), cleans up after itself, and installs the definitions of Function and
Profile if they are missing (they stay). The Pods' addresses need not be reachable from here: nothing is called.
`HILBERT_TEST_IMAGE` names an image that answers on port 8080 at `/_/health`; without it only what needs no Pod is tested.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from hilbert.core.errors import AlreadyExists, NamespaceNotFound, SecretNotFound
from hilbert.core.model import FunctionSpec, LogQuery, Namespace, Secret
from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import FunctionRef, NamespaceName, SecretName
from hilbert.providers.kubernetes import kinds
from hilbert.providers.kubernetes.api import connect
from hilbert.providers.kubernetes.install import crds
from hilbert.providers.kubernetes.provider import KubernetesProvider

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        os.environ.get("HILBERT_TEST_CLUSTER") != "1" or not os.environ.get("KUBECONFIG"),
        reason="a real cluster needs KUBECONFIG and HILBERT_TEST_CLUSTER=1",
    ),
]

_PATIENCE = 180.0
_PAUSE_IMAGE = "registry.invalid/never:1"


async def until(met: Callable[[], Any], what: str) -> Any:
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        found = met()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"did not come true within {_PATIENCE:g} s: {what}"
        await asyncio.sleep(0.2)


@pytest.fixture
async def provider() -> AsyncIterator[KubernetesProvider]:
    mark = secrets.token_hex(3)
    platform, default = f"hilbert-test-{mark}-platform", f"hilbert-test-{mark}-fn"
    settings = KubernetesSettings(platform_namespace=platform)
    api = connect(settings)
    definitions = kinds.Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", kinds.Object, namespaced=False)
    for manifest in crds.definitions():
        await api.apply(definitions, manifest)
    await api.create(kinds.NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": platform}})
    provider = KubernetesProvider(settings, provider=ProviderSettings(name="kubernetes", default_namespace=default))
    await provider.start()
    try:
        await asyncio.wait_for(provider.wait_ready(), _PATIENCE)
        await until(lambda: _is_tenant(provider, default), "the default namespace is made")
        yield provider
    finally:
        await provider.close()
        for page in await api.every(kinds.NAMESPACES):
            if page.metadata.name.startswith(f"hilbert-test-{mark}"):
                await api.delete(kinds.NAMESPACES, page.metadata.name)
        await api.close()


async def _is_tenant(provider: KubernetesProvider, name: str) -> bool:
    return name in {found.name for found in await provider.list_namespaces()}


async def default_of(provider: KubernetesProvider) -> NamespaceName:
    found = [n.name for n in await provider.list_namespaces() if n.name.startswith("hilbert-test-")]
    return found[0]


async def test_a_function_is_stored_changed_scaled_and_removed(provider: KubernetesProvider) -> None:
    namespace = await default_of(provider)
    spec = FunctionSpec(ref=FunctionRef.parse(f"echo.{namespace}"), image=_PAUSE_IMAGE, env={"PRICE": "$(HOME) $$5"})
    await provider.apply(spec, create=True)
    with pytest.raises(AlreadyExists):
        await provider.apply(spec, create=True)
    await provider.scale(spec.ref, 2)
    await provider.apply(msgspec.structs.replace(spec, env={"A": "1"}))
    status = await provider.get(spec.ref)
    assert (status.replicas, status.generation, dict(status.spec.env)) == (2, 2, {"A": "1"})
    await until(lambda: _reason(provider, spec.ref, "ImageUnavailable"), "the image that cannot be pulled is told")
    await provider.remove(spec.ref)
    assert await provider.list(namespace) == []


async def _reason(provider: KubernetesProvider, ref: FunctionRef, reason: str) -> bool:
    return (await provider.get(ref)).reason == reason


async def test_a_namespace_comes_complete_and_goes(provider: KubernetesProvider) -> None:
    name = NamespaceName((await default_of(provider)).removesuffix("-fn") + "-tenant")
    quota = {"com.hilbert.quota.replicas": "2", "com.hilbert.quota.memory": "1Gi"}
    await provider.create_namespace(Namespace(name=name, annotations=quota))
    await provider.create_secret(Secret(name, SecretName("token"), b"\0\xff"))
    with pytest.raises(AlreadyExists):
        await provider.create_secret(Secret(name, SecretName("token"), b"2"))
    await provider.update_secret(Secret(name, SecretName("token"), b"2"))
    assert await provider.list_secrets(name) == ["token"]
    with pytest.raises(SecretNotFound):
        await provider.delete_secret(name, SecretName("absent"))
    await provider.delete_namespace(name)
    with pytest.raises(NamespaceNotFound):
        await provider.list(name)


@pytest.mark.skipif(not os.environ.get("HILBERT_TEST_IMAGE"), reason="HILBERT_TEST_IMAGE names no image to run")
async def test_a_function_becomes_ready_and_its_log_is_read(provider: KubernetesProvider) -> None:
    namespace = await default_of(provider)
    spec = FunctionSpec(ref=FunctionRef.parse(f"real.{namespace}"), image=os.environ["HILBERT_TEST_IMAGE"])
    await provider.apply(spec)
    await until(lambda: _available(provider, spec.ref, 1), "one replica is ready")
    await provider.scale(spec.ref, 2)
    await until(lambda: _available(provider, spec.ref, 2), "two replicas are ready")
    lines = [line async for line in provider.read_logs(LogQuery(ref=spec.ref))]
    assert [line.timestamp_ns for line in lines] == sorted(line.timestamp_ns for line in lines)
    await provider.scale(spec.ref, 0)
    await until(lambda: _available(provider, spec.ref, 0), "no replica is left")


async def _available(provider: KubernetesProvider, ref: FunctionRef, count: int) -> bool:
    return (await provider.get(ref)).available == count
