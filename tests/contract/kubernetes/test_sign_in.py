"""Tokens, keys, issuers, policies and roles in a cluster: seen by every gateway, and gone from every gateway at once."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from hilbert.core.errors import BackendError, NotFound
from hilbert.core.settings import IamSettings, KubernetesSettings, ProviderSettings, Settings
from hilbert.core.values import NamespaceName
from hilbert.iam.roles import Role
from hilbert.iam.tokens import mint
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api as KubernetesApi
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.server.sign_in import SignIn, running_sign_in
from support.cluster import AnyCluster, Double, gateway, settings_of
from support.issuer import policy_object, role_object

pytestmark = pytest.mark.anyio

DEV = NamespaceName("dev")
URL = "https://gateway.example.com"


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not met():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def signing(cluster: AnyCluster, provider: KubernetesProvider) -> AsyncIterator[SignIn]:
    """What one gateway's control process makes of it."""
    settings = Settings(
        provider=ProviderSettings(name="kubernetes"), kubernetes=settings_of(cluster), iam=IamSettings(public_url=URL)
    )
    async with running_sign_in(settings, provider, url="http://127.0.0.1:8080") as found:
        federation = found.federation
        assert federation is not None
        await until(lambda: federation.ring.jwks()["keys"])
        yield found


@pytest.fixture
async def two(cluster: AnyCluster) -> AsyncIterator[tuple[SignIn, SignIn]]:
    """Two gateways of one installation."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            provider = await stack.enter_async_context(gateway(cluster))
            made.append(await stack.enter_async_context(signing(cluster, provider)))
        yield made[0], made[1]


def new_token(name: str = "ci") -> Any:
    return mint(name, Role.DEPLOYER, (DEV,), by="admin", now=datetime.now(UTC))


async def test_a_token_is_known_and_revoked_everywhere(two: tuple[SignIn, SignIn]) -> None:
    one, other = two[0].tokens, two[1].tokens
    assert one is not None
    assert other is not None
    made = new_token()
    await one.add(made)
    assert one.prove(made.text) is not None
    await until(lambda: other.prove(made.text))
    await other.remove(made.token.id)
    assert other.prove(made.text) is None
    await until(lambda: one.prove(made.text) is None)
    with pytest.raises(NotFound):
        await one.remove(made.token.id)


async def test_two_gateways_write_at_once(two: tuple[SignIn, SignIn]) -> None:
    """Neither overwrites what the other has written."""
    one, other = two[0].tokens, two[1].tokens
    assert one is not None
    assert other is not None
    made = [new_token(f"t{number}") for number in range(20)]
    await asyncio.gather(*((one, other)[number % 2].add(token) for number, token in enumerate(made)))
    for store in (one, other):
        await until(lambda store=store: all(store.prove(token.text) for token in made))


async def test_the_use_of_a_revoked_token_does_not_bring_it_back(
    cluster: AnyCluster, two: tuple[SignIn, SignIn]
) -> None:
    one, other = two[0].tokens, two[1].tokens
    assert one is not None
    assert other is not None
    made = new_token()
    await one.add(made)
    await until(lambda: other.prove(made.text))
    await one.remove(made.token.id)
    await other._note_use(made.token.id)
    await until(lambda: made.token.id not in entries(cluster, names.SHELF_TOKENS))
    assert made.token.id not in entries(cluster, names.SHELF_TOKENS)


def entries(cluster: AnyCluster, name: str) -> dict[str, str]:
    (secret,) = [one for one in cluster.objects("secrets") if one["metadata"]["name"] == name]
    found: dict[str, str] = secret.get("data") or {}
    return found


async def test_only_hashes_are_kept(cluster: AnyCluster, two: tuple[SignIn, SignIn]) -> None:
    store = two[0].tokens
    assert store is not None
    made = new_token()
    await store.add(made)
    kept = b"".join(base64.b64decode(text) for text in entries(cluster, names.SHELF_TOKENS).values())
    assert made.token.id.encode() in kept
    assert made.text.rpartition("_")[2].encode() not in kept


async def test_gateways_sign_with_keys_that_all_know(two: tuple[SignIn, SignIn]) -> None:
    one, other = two[0].federation, two[1].federation
    assert one is not None
    assert other is not None
    await until(lambda: one.ring.jwks() == other.ring.jwks())
    key = await one.ring.rotate(revoke=True)
    await until(lambda: [found["kid"] for found in other.ring.jwks()["keys"]] == [key.kid])


@pytest.fixture
async def administrator(cluster: AnyCluster) -> AsyncIterator[KubernetesApi]:
    api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    yield api
    await api.close()


async def test_objects_are_custom_resources(
    cluster: AnyCluster, administrator: KubernetesApi, two: tuple[SignIn, SignIn]
) -> None:
    """As `kubectl apply` makes them; each gateway hears of every change."""
    by_kind: dict[str, kinds.Kind[Any]] = {"Policy": kinds.ACCESS_POLICIES, "Role": kinds.ACCESS_ROLES}

    async def put(document: dict[str, Any]) -> None:
        placed = {**document, "metadata": {**document["metadata"], "namespace": cluster.platform}}
        await administrator.apply(by_kind[document["kind"]], placed)

    await put(policy_object("dev-rw", ["dev:*"], ["Function:*"]))
    await put(role_object("developers", ["dev-rw"], principal={"jwt:sub": ["alice"]}))
    await put(role_object("everybody", ["dev-rw"]))  # Would be everybody's, so it does not count.
    accesses = [found.access for found in two]
    for access in accesses:
        assert access is not None
        await until(lambda access=access: access.policies_of({"sub": "alice"}) == ["dev-rw"])
        assert access.policies_of({"sub": "bob"}) == []
    await put(role_object("developers", ["dev-rw"], principal={"jwt:sub": ["bob"]}))
    for access in accesses:
        await until(lambda access=access: access.policies_of({"sub": "bob"}) == ["dev-rw"])
        assert access is not None
        assert access.policies_of({"sub": "alice"}) == []
    assert two[0].objects is None


async def test_objects_of_other_namespaces_do_not_count(cluster: AnyCluster, two: tuple[SignIn, SignIn]) -> None:
    """Whoever owns a tenant's namespace in the cluster gets no rights on the gateway by it (CVE-2026-49823)."""
    access = two[0].access
    assert access is not None
    for document in (
        policy_object("mine", ["*"], ["*"]),
        role_object("mine", ["mine"], principal={"jwt:sub": ["mallory"]}),
    ):
        cluster.put({**document, "metadata": {**document["metadata"], "namespace": cluster.default}})
    good = role_object("good", ["p"], principal={"jwt:sub": ["alice"]})
    for document in (policy_object("p", ["dev:*"], ["*"]), good):
        cluster.put({**document, "metadata": {**document["metadata"], "namespace": cluster.platform}})
    await until(lambda: access.policies_of({"sub": "alice"}))
    assert access.policies_of({"sub": "mallory"}) == []


@pytest.mark.double("takes the installation's Secret away")
async def test_an_installation_without_the_secret_says_what_to_do(
    cluster: Double, administrator: KubernetesApi
) -> None:
    for secret in [one for one in cluster.objects("secrets") if one["metadata"]["name"] in names.SHELVES]:
        await administrator.delete(kinds.SECRETS, secret["metadata"]["name"], cluster.platform)
    async with gateway(cluster) as provider:
        with pytest.raises(BackendError) as caught:
            await provider.shelf("tokens").put("a", b"b")
    assert "install this version again" in caught.value.hint
