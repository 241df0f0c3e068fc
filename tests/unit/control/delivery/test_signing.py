"""With which key call-backs are signed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hilbert.control.delivery.signing import ANNOTATION_KEY, check_key_name, key_of
from hilbert.core.errors import Invalid, SecretNotFound
from hilbert.core.model import Namespace, Secret
from hilbert.core.values import FunctionRef, NamespaceName, SecretName
from hilbert.providers.memory import MemoryProvider

pytestmark = pytest.mark.anyio

F = FunctionRef.parse("f.dev")


@pytest.fixture
async def provider() -> AsyncIterator[MemoryProvider]:
    found = MemoryProvider()
    for name in ("dev", "other"):
        await found.create_namespace(Namespace(name=NamespaceName(name)))
        await found.create_secret(Secret(NamespaceName(name), SecretName("key"), name.encode()))
    await found.create_secret(Secret(NamespaceName("dev"), SecretName("mine"), b"mine"))
    await found.create_secret(Secret(NamespaceName("other"), SecretName("theirs"), b"theirs"))
    yield found
    await found.close()


async def test_the_functions_own_word_comes_first(provider: MemoryProvider) -> None:
    assert await key_of(provider, F, {}, {}) is None
    assert await key_of(provider, F, {}, {ANNOTATION_KEY: "key"}) == b"dev"
    assert await key_of(provider, F, {ANNOTATION_KEY: " mine "}, {ANNOTATION_KEY: "key"}) == b"mine"


@pytest.mark.parametrize(("name", "error"), [("theirs", SecretNotFound), ("absent", SecretNotFound), ("Not a name", Invalid), ("../key", Invalid)])  # fmt: skip
async def test_no_other_namespaces_secret_and_none_that_is_not_there(provider: MemoryProvider, name: str, error: type[Exception]) -> None:  # fmt: skip
    with pytest.raises(error):
        await key_of(provider, F, {ANNOTATION_KEY: name}, {})


async def test_a_name_that_is_none_is_a_warning() -> None:
    assert check_key_name({ANNOTATION_KEY: "key"}) == check_key_name({}) == []
    assert ANNOTATION_KEY in check_key_name({ANNOTATION_KEY: "A B"})[0]
