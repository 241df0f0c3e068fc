"""Every field that can name a namespace, times every verb: one namespace is touched, or none at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from hilbert.core.model import FunctionSpec, FunctionStatus, LogLine, LogQuery, Namespace, Secret
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName, SecretName
from hilbert.providers.memory import MemoryProvider
from support.api import running

pytestmark = pytest.mark.anyio

NAMED = ("dev", "other", "nowhere", "kube-system", "Bad_Name", "a..b")
EXISTING = ("dev", "other")


class Recording(MemoryProvider):
    """Says what it was asked, about which namespace, and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: list[tuple[str, str]] = []

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        self.touched.append(("apply", spec.ref.namespace))

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        self.touched.append(("scale", ref.namespace))

    async def remove(self, ref: FunctionRef) -> None:
        self.touched.append(("remove", ref.namespace))

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        self.touched.append(("get", ref.namespace))
        return await super().get(ref)

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        self.touched.append(("list", namespace))
        return await super().list(namespace)

    async def list_secrets(self, namespace: NamespaceName) -> Sequence[SecretName]:
        self.touched.append(("list_secrets", namespace))
        return await super().list_secrets(namespace)

    async def create_secret(self, secret: Secret) -> None:
        self.touched.append(("create_secret", secret.namespace))

    async def update_secret(self, secret: Secret) -> None:
        self.touched.append(("update_secret", secret.namespace))

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        self.touched.append(("delete_secret", namespace))

    async def read_logs(self, query: LogQuery) -> Any:
        self.touched.append(("read_logs", query.ref.namespace))
        yield LogLine(query.ref, "f-1", 0, "line")


@dataclass(frozen=True)
class Verb:
    """One call of the API and the places in it that can name a namespace."""

    method: str
    path: str
    body: dict[str, Any] | None
    places: tuple[str, ...]
    success: int
    reserved: int
    """Status for `kube-system`."""
    name: str = ""
    """Field of the body, or parameter of the query, that holds the function's name; `path` for the path."""


VERBS = {
    "list": Verb("GET", "/system/functions", None, ("query",), 200, 401),
    "create": Verb("POST", "/system/functions", {"service": "f", "image": "i"}, ("query", "body"), 202, 400),
    "update": Verb("PUT", "/system/functions", {"service": "f", "image": "i"}, ("query", "body"), 202, 401),
    "delete": Verb("DELETE", "/system/functions", {}, ("query", "body", "name"), 202, 401, "functionName"),
    "get": Verb("GET", "/system/function/", None, ("query", "name"), 200, 401, "path"),
    "scale": Verb("POST", "/system/scale-function/", {"replicas": 2}, ("query", "body", "name"), 202, 401, "path"),
    "logs": Verb("GET", "/system/logs", None, ("query", "name"), 200, 400, "name"),
    "secrets list": Verb("GET", "/system/secrets", None, ("query",), 200, 400),
    "secret create": Verb("POST", "/system/secrets", {"name": "s", "value": "v"}, ("query", "body"), 202, 400),
    "secret update": Verb("PUT", "/system/secrets", {"name": "s", "value": "v"}, ("query", "body"), 202, 400),
    "secret delete": Verb("DELETE", "/system/secrets", {"name": "s"}, ("query", "body"), 202, 400),
}


def spellings(place: str) -> Iterator[str | None]:
    """What a place may say: nothing, in each way that it can, or a namespace."""
    yield None
    if place != "name":
        yield ""
    yield from (text for text in NAMED if not (place == "name" and text == "a..b"))


def request(verb: Verb, said: dict[str, str | None]) -> tuple[str, dict[str, Any] | None]:
    """The target and body that say it."""
    path, query = verb.path, []
    body = None if verb.body is None else dict(verb.body)
    name = "f" if said.get("name") is None else f"f.{said['name']}"
    if verb.name == "path":
        path += name
    elif verb.name and body is not None:
        body[verb.name] = name
    elif verb.name:
        query.append(f"{verb.name}={name}")
    if (text := said.get("query")) is not None:
        query.append(f"namespace={text}")
    if "body" in verb.places and body is not None:
        body["namespace"] = said["body"]
    return f"{path}?{'&'.join(query)}", body


def expected(verb: Verb, said: dict[str, str | None]) -> tuple[int, str, str]:
    """Status, the text of a refusal, and the namespace that may be touched."""
    named = {text for text in said.values() if text}
    if len(named) > 1:
        return 400, "the request names two namespaces that differ\n", ""
    namespace = named.pop() if named else "openfaas-fn"
    if namespace in (*EXISTING, "openfaas-fn"):
        return verb.success, "", namespace
    if namespace == "kube-system":
        text = "unable to list within the kube-system namespace" if verb.reserved == 401 else "namespace not valid"
        return verb.reserved, f"{text}\n", ""
    return 400, "namespace not valid\n", ""


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
async def test_one_namespace_or_none(verb: Verb) -> None:
    provider = Recording()
    for name in EXISTING:
        await provider.create_namespace(Namespace(name=NamespaceName(name)))
    for name in (*EXISTING, "openfaas-fn"):
        ref = FunctionRef(NamespaceName(name), FunctionName("f"))
        await MemoryProvider.apply(provider, FunctionSpec(ref=ref, image="i"))
    async with running(provider) as api:
        combinations = list(itertools.product(*(list(spellings(place)) for place in verb.places)))
        assert len(combinations) >= 8
        for values in combinations:
            said = dict(zip(verb.places, values, strict=True))
            provider.touched.clear()
            target, body = request(verb, said)
            answer = await api.call(verb.method, target, body)
            status, text, namespace = expected(verb, said)
            assert answer.status == status, (said, answer)
            assert {where for _, where in provider.touched} == ({namespace} if namespace else set()), said
            if text:
                assert answer.text.startswith(text), (said, answer)
    await provider.close()


async def test_a_function_deployed_under_a_dotted_name_is_refused() -> None:
    async with running() as api:
        answer = await api.call("POST", "/system/functions", {"service": "f.dev", "image": "i"})
        assert answer.status == 400
        assert answer.text == "validation failed: service: (f.dev) is invalid, must be a valid DNS entry\n"
