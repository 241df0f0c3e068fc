"""Arguments of a wrong type: each says what is accepted, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from hilbert.client import AsyncClient, BasicAuth, BatchCall, Client, Deployment, Invalid, TokenAuth
from hilbert.client.function_builder import FunctionBuilder
from support.cli import Gateway
from support.clients import Either

RIGHT: dict[str, Any] = {
    "name": "f",
    "deployment": Deployment(service="f", image="i"),
    "replicas": 1,
    "value": b"1",
    "role": "viewer",
    "namespaces": ["dev"],
    "number": "1",
    "action": "Function:Read",
    "documents": [{}],
    "kind": "Role",
    "token": "t",
    "call_id": "c",
    "batch": [BatchCall(function="f")],
    "url": "http://127.0.0.1:1",
}
"""For what has no default."""
WRONG: tuple[Any, ...] = (None, 5, 2.5, "5", b"5", True, [5], {"a": 5}, object(), float("nan"))
_SKIPPED = {"close"}


def methods() -> Iterator[tuple[str, str]]:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if (name.startswith("_") and name != "__init__") or name in _SKIPPED:
            continue
        for parameter in list(inspect.signature(method).parameters)[1:]:
            yield name, parameter


def annotation_of(method: str, parameter: str) -> str:
    return str(inspect.signature(getattr(Client, method)).parameters[parameter].annotation)


ACCEPTED: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "int | None": (int, type(None)),
}


@pytest.mark.parametrize(("method", "parameter"), list(methods()))
def test_a_wrong_type_is_said(client: Either, gateway: Gateway, method: str, parameter: str) -> None:
    """Never by a TypeError or AttributeError from inside; what is accepted after all may be answered as it likes."""
    annotation = annotation_of(method, parameter)
    sent = len(gateway.calls)
    for value in WRONG:
        signature = inspect.signature(getattr(Client, method))
        needed = {
            name: RIGHT[name]
            for name, known in signature.parameters.items()
            if name != "self" and known.default is known.empty
        }
        options = {**needed, parameter: value}
        try:
            if method == "__init__":
                type(client.client)(**options)
            elif method == "stream":
                client.stream(**options)
            else:
                client.do(method, **options)
        except (TypeError, AttributeError) as exc:
            pytest.fail(f"{method}({parameter}={value!r}): {exc!r}")
        except Exception:
            refused = True
        else:
            refused = False
        if annotation in ACCEPTED:
            taken = isinstance(value, ACCEPTED[annotation]) and value == value
            if isinstance(value, bool) and bool not in ACCEPTED[annotation]:
                taken = False
            if not taken:
                assert refused, f"{method}({parameter}={value!r}) was taken"
                assert len(gateway.calls) == sent, f"{method}({parameter}={value!r}) was sent"
        sent = len(gateway.calls)


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("invoke", {"timeout": "5"}, "timeout: must be a number of seconds, such as 2.5, not str"),
        ("invoke", {"limit": "5"}, "limit: must be a whole number, not str"),
        ("invoke", {"headers": None}, "headers: must be a map of texts, or a list of pairs of texts, not NoneType"),
        ("scale_function", {"replicas": "2"}, "replicas: must be a whole number, not str"),
        ("scale_function", {"replicas": True}, "replicas: must be a whole number, not bool"),
        ("get_function", {"usage": "yes"}, "usage: must be True or False, not str"),
        ("create_namespace", {"labels": {"a": 1}}, r'labels: must be a map of texts, such as {"NAME": "VALUE"}, not dict'),
        ("create_token", {"role": "viewer", "namespaces": "dev"}, 'namespaces: must be a list of texts, such as .* not str'),
        ("logs", {"since": "10m"}, "since: must be a datetime with a time zone, not str"),
        ("invoke_async", {"delay": "5s"}, "delay: must be a number of seconds"),
    ],
)  # fmt: skip
def test_what_is_accepted_is_in_the_sentence(client: Either, method: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        client.do(method, "f", **options)


def test_the_clients_own_settings(either: Either) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(Invalid, match=r"auth: must be BasicAuth\(USER, PASSWORD\) or TokenAuth\(TOKEN\), not tuple"):
        either.open(url, auth=("admin", "password"))
    with pytest.raises(Invalid, match="timeout: must be a number of seconds"):
        either.open(url, timeout="5")
    client = either.open(url)
    with pytest.raises(Invalid, match="timeout: must be a number of seconds"):
        client.client.timeout = "5"
    client.client.timeout = 5
    assert client.client.timeout == 5


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_of_the_gateway_of_this_machine(kind: type[Client]) -> None:
    with pytest.raises(Invalid, match="timeout"):
        kind.local(timeout="5")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda value: BasicAuth(value, "p"), lambda value: BasicAuth("u", value), TokenAuth])
@pytest.mark.parametrize("value", [None, 5, b"secret"])
def test_credentials(make: Any, value: Any) -> None:
    with pytest.raises(Invalid, match="must be text, not") as caught:
        make(value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{"image": 5}, {"env_vars": {"A": 1}}, {"secrets": "abc"}, {"labels": ["a"]}, {"image": object()}, {"limits": 5}],
    ids=lambda fields: "-".join(fields),
)
def test_a_deployment_of_wrong_fields_is_not_sent(client: Either, gateway: Gateway, fields: dict[str, Any]) -> None:
    sent = len(gateway.calls)
    for method in ("deploy", "create_function", "update_function"):
        with pytest.raises(Invalid, match="deployment: "):
            client.do(method, Deployment(**{"service": "f", "image": "i", **fields}))
    assert len(gateway.calls) == sent


def test_a_builder(gateway: Gateway) -> None:
    for options in ({"url": 5}, {"url": gateway.url, "environ": 5}, {"url": gateway.url, "verify": "no"}):
        with pytest.raises(Invalid, match="must be"):
            FunctionBuilder(**{"environ": {}, **options})
