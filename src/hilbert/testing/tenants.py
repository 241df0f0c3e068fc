"""What every provider with namespaces and secrets does, as tests: a part of `ProviderContract`."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import pytest

from hilbert.core.errors import (
    AlreadyExists,
    Forbidden,
    FunctionNotFound,
    Invalid,
    InvalidSpec,
    NamespaceNotFound,
    QuotaExceeded,
    ReservedNamespace,
    SecretNotFound,
)
from hilbert.core.model import ANNOTATION_NETWORK, LABEL_SCALE_MIN, Namespace, Resources, Secret
from hilbert.core.ports import Logs, SecretValues
from hilbert.core.values import NamespaceName, Quantity, SecretName
from hilbert.testing.harness import (
    Harness,
    eventually,
    lines_of,
    namespaces_of,
    secrets_of,
    spec_of,
    watching,
)

_MEMORY = Resources(memory=Quantity.parse("256Mi"))
_MUCH_MEMORY = Resources(memory=Quantity.parse("768Mi"))


class TenantContract:
    """Namespaces, their quota, and secrets. Skipped where the provider lacks the capability."""

    async def test_namespaces_are_made_listed_changed_and_removed(self, harness: Harness) -> None:
        namespaces = namespaces_of(harness)
        dev = harness.namespace("dev")
        before = [entry.name for entry in await namespaces.list_namespaces()]
        assert harness.namespace() in before
        await namespaces.create_namespace(Namespace(name=dev, labels={"a": "1"}, annotations={"b": "2"}))
        assert [entry.name for entry in await namespaces.list_namespaces()] == sorted([dev, *before])
        with pytest.raises(AlreadyExists):
            await namespaces.create_namespace(Namespace(name=dev))
        await namespaces.update_namespace(Namespace(name=dev, labels={"c": "3"}))
        made = await namespaces.get_namespace(dev)
        assert (dict(made.labels), dict(made.annotations)) == ({"c": "3"}, {})
        await namespaces.delete_namespace(dev)
        for attempt in (namespaces.get_namespace(dev), namespaces.delete_namespace(dev)):
            with pytest.raises(NamespaceNotFound):
                await attempt
        with pytest.raises(NamespaceNotFound):
            await namespaces.update_namespace(Namespace(name=dev))

    @pytest.mark.parametrize("name", ["kube-system", "kube-public", "openfaas", "hilbert"])
    async def test_reserved_namespaces_are_refused(self, harness: Harness, name: str) -> None:
        with pytest.raises(ReservedNamespace):
            await namespaces_of(harness).create_namespace(Namespace(name=NamespaceName(name)))

    async def test_the_default_namespace_stays(self, harness: Harness) -> None:
        with pytest.raises(Forbidden):
            await namespaces_of(harness).delete_namespace(harness.namespace())

    async def test_an_annotation_without_a_meaning_is_refused(self, harness: Harness) -> None:
        namespaces = namespaces_of(harness)
        with pytest.raises(Invalid):
            await namespaces.create_namespace(
                Namespace(name=harness.namespace("dev"), annotations={ANNOTATION_NETWORK: "maybe"})
            )

    async def test_one_name_in_two_namespaces_is_two_functions(self, harness: Harness) -> None:
        provider = harness.provider
        await namespaces_of(harness).create_namespace(Namespace(name=harness.namespace("dev")))
        here, there = spec_of(harness), spec_of(harness, namespace="dev", env={"x": "y"})
        async with watching(provider) as table:
            await provider.apply(here)
            await provider.apply(there)
            assert {*await table.ready(here.ref)}.isdisjoint(await table.ready(there.ref))
            await provider.remove(there.ref)
            assert (await provider.get(here.ref)).spec == here
            assert await provider.list(harness.namespace("dev")) == []

    async def test_deleting_a_namespace_takes_all_and_a_namesake_inherits_nothing(self, harness: Harness) -> None:
        provider, dev = harness.provider, harness.namespace("dev")
        namespaces, secrets = namespaces_of(harness), secrets_of(harness)
        spec = spec_of(harness, namespace="dev")
        kept = spec_of(harness)
        async with watching(provider) as table:
            await provider.apply(kept)
            await namespaces.create_namespace(Namespace(name=dev, labels={"a": "1"}))
            await secrets.create_secret(Secret(dev, SecretName("token"), b"old"))
            await provider.apply(spec)
            (old,) = await table.ready(spec.ref)
            await harness.call(old, b"a line")
            await namespaces.delete_namespace(dev)
            await eventually(lambda: table.sets[spec.ref].spec is None)
            with pytest.raises(NamespaceNotFound):
                await provider.list(dev)
            await namespaces.create_namespace(Namespace(name=dev))
            assert await provider.list(dev) == []
            assert await secrets.list_secrets(dev) == []
            assert dict((await namespaces.get_namespace(dev)).labels) == {}
            await provider.apply(spec)
            (new,) = await table.ready(spec.ref)
            assert new.replica != old.replica
            if isinstance(provider, Logs):
                assert old.replica not in {line.instance for line in await lines_of(harness, ref=spec.ref)}
            assert (await provider.get(kept.ref)).available == 1

    async def test_a_namespaces_quota_bounds_what_its_functions_have_together(self, harness: Harness) -> None:
        """Refused before anything changes, and only what would take more."""
        provider, namespaces = harness.provider, namespaces_of(harness)
        dev = harness.namespace("dev")
        quota = {"functions": "2", "replicas": "3", "memory": "1Gi"}
        annotations = {f"com.hilbert.quota.{key}": value for key, value in quota.items()}
        await namespaces.create_namespace(Namespace(name=dev, annotations=annotations))
        one, two, three = (spec_of(harness, name, "dev", limits=_MEMORY) for name in ("one", "two", "three"))
        await provider.apply(one)
        await provider.apply(two)
        with pytest.raises(QuotaExceeded, match=r"com\.hilbert\.quota\.functions"):
            await provider.apply(three)
        await provider.scale(one.ref, 2)
        with pytest.raises(QuotaExceeded, match=r"com\.hilbert\.quota\.replicas"):
            await provider.scale(one.ref, 3)
        await provider.scale(two.ref, 0)
        with pytest.raises(QuotaExceeded, match=r"com\.hilbert\.quota\.memory"):
            await provider.apply(spec_of(harness, "two", "dev", limits=_MUCH_MEMORY, labels={LABEL_SCALE_MIN: "1"}))
        seen = {str(status.spec.ref.name): status for status in await provider.list(dev)}
        assert {name: status.replicas for name, status in seen.items()} == {"one": 2, "two": 0}
        assert seen["two"].spec == two
        await namespaces.update_namespace(Namespace(name=dev, annotations={"com.hilbert.quota.replicas": "1"}))
        await provider.scale(one.ref, 1)  # Still what it may not have, but less than before.
        await namespaces.update_namespace(Namespace(name=dev))
        await provider.apply(three)

    async def test_a_namespaces_limits_bound_what_one_replica_has(self, harness: Harness) -> None:
        namespaces, dev = namespaces_of(harness), harness.namespace("dev")
        annotations = {"com.hilbert.limits.max-memory": "512Mi"}
        await namespaces.create_namespace(Namespace(name=dev, annotations=annotations))
        with pytest.raises(InvalidSpec, match="512Mi"):
            await harness.provider.apply(spec_of(harness, "much", "dev", limits=_MUCH_MEMORY))
        assert await harness.provider.list(dev) == []
        await harness.provider.apply(spec_of(harness, "little", "dev", limits=_MEMORY))

    @pytest.mark.parametrize(
        "annotations",
        [
            {"com.hilbert.quota.replicas": "many"},
            {"com.hilbert.quota.functions": "1.5"},
            {"com.hilbert.limits.memory": "2Gi", "com.hilbert.limits.max-memory": "1Gi"},
        ],
    )
    async def test_a_quota_without_a_meaning_is_refused(self, harness: Harness, annotations: dict[str, str]) -> None:
        namespaces, dev = namespaces_of(harness), harness.namespace("dev")
        with pytest.raises(Invalid, match=r"annotation com\.hilbert"):
            await namespaces.create_namespace(Namespace(name=dev, annotations=annotations))
        with pytest.raises(NamespaceNotFound):
            await namespaces.get_namespace(dev)

    # Secrets

    async def test_a_namespaces_quota_bounds_its_secrets(self, harness: Harness) -> None:
        secrets, dev = secrets_of(harness), harness.namespace("dev")
        quota = {"com.hilbert.quota.secrets": "1"}
        await namespaces_of(harness).create_namespace(Namespace(name=dev, annotations=quota))
        await secrets.create_secret(Secret(dev, SecretName("one"), b"1"))
        with pytest.raises(QuotaExceeded):
            await secrets.create_secret(Secret(dev, SecretName("two"), b"1"))
        await secrets.update_secret(Secret(dev, SecretName("one"), b"2"))
        assert await secrets.list_secrets(dev) == ["one"]

    async def test_secrets_are_made_listed_changed_and_removed(self, harness: Harness) -> None:
        secrets, name = secrets_of(harness), SecretName("token")
        for attempt in (
            secrets.update_secret(Secret(harness.namespace(), name, b"1")),
            secrets.delete_secret(harness.namespace(), name),
        ):
            with pytest.raises(SecretNotFound):
                await attempt
        await secrets.create_secret(Secret(harness.namespace(), name, b"1"))
        await secrets.create_secret(Secret(harness.namespace(), SecretName("a.b"), b"\0\xff"))
        with pytest.raises(AlreadyExists):
            await secrets.create_secret(Secret(harness.namespace(), name, b"2"))
        await secrets.update_secret(Secret(harness.namespace(), name, b"2"))
        assert await secrets.list_secrets(harness.namespace()) == ["a.b", "token"]
        if isinstance(secrets, SecretValues):
            assert await secrets.secret_value(harness.namespace(), SecretName("a.b")) == b"\0\xff"
            assert await secrets.secret_value(harness.namespace(), name) == b"2"
            for missing in (SecretName("absent"), SecretName("token.b")):
                with pytest.raises(SecretNotFound):
                    await secrets.secret_value(harness.namespace(), missing)
        await secrets.delete_secret(harness.namespace(), name)
        assert await secrets.list_secrets(harness.namespace()) == ["a.b"]

    async def test_secrets_belong_to_one_namespace(self, harness: Harness) -> None:
        """Every verb, with the namespace that lacks it and with one that does not exist."""
        provider, name, dev = harness.provider, SecretName("token"), harness.namespace("dev")
        secrets = secrets_of(harness)
        await namespaces_of(harness).create_namespace(Namespace(name=dev))
        await secrets.create_secret(Secret(dev, name, b"1"))
        assert await secrets.list_secrets(harness.namespace()) == []
        with pytest.raises(SecretNotFound):
            await secrets.update_secret(Secret(harness.namespace(), name, b"2"))
        with pytest.raises(SecretNotFound):
            await secrets.delete_secret(harness.namespace(), name)
        with pytest.raises(SecretNotFound):
            await provider.apply(spec_of(harness, secrets=(name,)))
        nowhere = harness.namespace("nowhere")
        for attempt in (
            secrets.list_secrets(nowhere),
            secrets.create_secret(Secret(nowhere, name, b"1")),
            secrets.update_secret(Secret(nowhere, name, b"1")),
            secrets.delete_secret(nowhere, name),
        ):
            with pytest.raises(NamespaceNotFound):
                await attempt

    async def test_a_function_needs_its_secrets_to_exist(self, harness: Harness) -> None:
        provider, secrets = harness.provider, secrets_of(harness)
        spec = spec_of(harness, secrets=(SecretName("token"),))
        with pytest.raises(SecretNotFound):
            await provider.apply(spec)
        with pytest.raises(FunctionNotFound):
            await provider.get(spec.ref)
        await secrets.create_secret(Secret(harness.namespace(), SecretName("token"), b"1"))
        async with watching(provider) as table:
            await provider.apply(spec)
            await table.ready(spec.ref)
