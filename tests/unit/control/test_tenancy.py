"""One namespace that exists and may be used, or a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.control.tenancy import Tenancy
from hilbert.core.errors import Invalid, InvalidName, NamespaceNotFound, ReservedNamespace
from hilbert.core.model import Namespace
from hilbert.core.values import DEFAULT_NAMESPACE, NamespaceName
from hilbert.providers.memory import MemoryProvider

pytestmark = pytest.mark.anyio


@pytest.fixture
async def tenancy(anyio_backend: object) -> AsyncIterator[Tenancy]:
    provider = MemoryProvider()
    await provider.create_namespace(Namespace(name=NamespaceName("dev"), annotations={"a": "b"}))
    yield Tenancy(provider, default=DEFAULT_NAMESPACE)
    await provider.close()


async def test_what_nobody_names_is_the_default(tenancy: Tenancy) -> None:
    for given_ in ((), (None,), ("",), (None, "", None)):
        assert (await tenancy.resolve(*given_)).name == "openfaas-fn"


async def test_one_name_however_often(tenancy: Tenancy) -> None:
    found = await tenancy.resolve("dev", None, "dev", "")
    assert (found.name, found.annotations) == ("dev", {"a": "b"})


async def test_two_names_are_refused_before_any_is_looked_at(tenancy: Tenancy) -> None:
    for other in ("openfaas-fn", "nowhere", "kube-system", "Not A Name"):
        with pytest.raises(Invalid, match="two namespaces"):
            await tenancy.resolve("dev", other)


@pytest.mark.parametrize("name", ["nowhere", "", "A", "a/b", "..", "\0", "x" * 64])
async def test_what_does_not_exist_or_could_not(tenancy: Tenancy, name: str) -> None:
    if name:
        with pytest.raises(NamespaceNotFound):
            await tenancy.resolve(name)
    with pytest.raises(InvalidName):
        tenancy.check_new(name) if name != "nowhere" else tenancy.check_new("no where")


@pytest.mark.parametrize("name", ["kube-system", "openfaas", "hilbert"])
async def test_reserved_names(tenancy: Tenancy, name: str) -> None:
    with pytest.raises(ReservedNamespace):
        await tenancy.resolve(name)
    with pytest.raises(ReservedNamespace):
        await tenancy.resolve_function(f"f.{name}")
    with pytest.raises(ReservedNamespace):
        tenancy.check_new(name)


async def test_a_function_named_with_its_namespace(tenancy: Tenancy) -> None:
    for name, given_ in (("f.dev", ()), ("f.dev", ("dev",)), ("f", ("dev",))):
        namespace, ref = await tenancy.resolve_function(name, *given_)
        assert (namespace.name, str(ref)) == ("dev", "f.dev")
    with pytest.raises(Invalid, match="two namespaces"):
        await tenancy.resolve_function("f.dev", "openfaas-fn")
    for wrong in (".dev", "a.b.dev", "F.dev", ""):
        with pytest.raises(InvalidName):
            await tenancy.resolve_function(wrong)


async def test_all_of_them(tenancy: Tenancy) -> None:
    assert [namespace.name for namespace in await tenancy.list_all()] == ["dev", "openfaas-fn"]


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    tenancy = Tenancy(None, default=DEFAULT_NAMESPACE)  # type: ignore[arg-type]
    try:
        assert tenancy.check_name(text) == text
    except (NamespaceNotFound, ReservedNamespace):
        return
    assert text not in ("kube-system", "")
