"""Both clients against the same gateway: every method, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from hilbert.client import AsyncClient, BasicAuth, Client, Deployment, GatewayTimeout, GatewayUnreachable, TokenAuth
from hilbert.client.codec import BrokenAnswer
from hilbert.core import errors
from support.cli import PASSWORD, USER, Gateway, Reply
from support.clients import Either


def test_namespaces(client: Either, gateway: Gateway) -> None:
    """Created with OpenFaaS's mark in both maps, replaced whole, removed."""
    client.do("create_namespace", "dev", labels={"a": "b"}, annotations={"c": "d"})
    sent = gateway.last("POST", "/system/namespace/").json
    assert sent == {"name": "dev", "labels": {"a": "b", "openfaas": "1"}, "annotations": {"c": "d", "openfaas": "1"}}
    assert client.do("list_namespaces") == ["openfaas-fn", "dev"]
    client.do("update_namespace", "dev", labels={"x": "y"})
    assert client.do("get_namespace", "dev").labels == {"x": "y", "openfaas": "1"}
    with pytest.raises(errors.AlreadyExists, match="already exists"):
        client.do("create_namespace", "dev")
    client.do("delete_namespace", "dev")
    assert gateway.last("DELETE", "/system/namespace/dev").query == {}
    client.do("create_namespace", "dev")
    client.do("delete_namespace", "dev", force=True)
    assert gateway.last("DELETE", "/system/namespace/dev").query == {"force": "true"}
    for method in ("get_namespace", "delete_namespace", "update_namespace"):
        with pytest.raises(errors.NamespaceNotFound):
            client.do(method, "dev")


def test_functions(client: Either, gateway: Gateway) -> None:
    """Deploying tries PUT, then POST; what is listed is what was deployed."""
    deployment = Deployment(
        service="f", image="i:1", env_vars={"A": "1"}, env_process="cat", read_only_root_filesystem=True
    )
    assert client.do("deploy", deployment).created
    assert [call.method for call in gateway.calls] == ["PUT", "POST"]
    assert gateway.last("POST", "/system/functions").json == {
        "service": "f", "image": "i:1", "envProcess": "cat", "envVars": {"A": "1"},
        "labels": {}, "annotations": {}, "readOnlyRootFilesystem": True,
    }  # fmt: skip
    assert not client.do("deploy", deployment).created
    (listed,) = client.do("list_functions")
    assert (listed.name, listed.image, listed.env_vars, listed.created_at) == (
        "f",
        "i:1",
        {"A": "1"},
        datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
    )
    client.do("restart_function", "f")
    client.do("scale_function", "f", 0)
    found = client.do("get_function", "f", usage=True)
    assert (found.replicas, found.hilbert.phase, found.full_name) == (0, "idle", "f.openfaas-fn")
    assert gateway.last("GET", "/system/function/f").query == {"usage": "1"}
    client.do("delete_function", "f")
    for method, words in (
        ("get_function", ()),
        ("delete_function", ()),
        ("scale_function", (1,)),
        ("restart_function", ()),
    ):
        with pytest.raises(errors.FunctionNotFound):
            client.do(method, "f", *words)
    with pytest.raises(errors.Invalid, match="namespace not valid"):
        client.do("list_functions", "nowhere")


def test_null_and_unknown_fields_are_taken(client: Either, gateway: Gateway) -> None:
    """Other gateways answer otherwise than ours."""
    body = b'[{"name":"f","image":"i","labels":null,"annotations":null,"envVars":null,"new":{"x":1},"createdAt":"0001-01-01T00:00:00Z"}]'
    gateway.script["GET", "/system/functions"] = [Reply(body=body), Reply(body=b"null")]
    (function,) = client.do("list_functions")
    assert (function.labels, function.replicas, function.hilbert) == ({}, 0, None)
    assert client.do("list_functions") == []


def test_secrets_keep_every_byte(client: Either, gateway: Gateway) -> None:
    """Not only text."""
    value = bytes(range(256))
    assert client.do("create_secret", "s", value, "openfaas-fn") == 202
    assert gateway.secrets["openfaas-fn", "s"] == value
    with pytest.raises(errors.AlreadyExists):
        client.do("create_secret", "s", value)
    client.do("update_secret", "s", b"new")
    assert [secret.name for secret in client.do("list_secrets")] == ["s"]
    client.do("delete_secret", "s")
    for method, words in (("update_secret", (b"",)), ("delete_secret", ())):
        with pytest.raises(errors.SecretNotFound):
            client.do(method, "s", *words)


def test_logs(client: Either, gateway: Gateway) -> None:
    """As they come; the query is OpenFaaS's."""
    gateway.logs = [
        {"name": "f", "namespace": "", "instance": "f-1", "timestamp": "2024-01-01T00:00:00Z", "text": f"{n}\n"}
        for n in range(3)
    ]
    since = datetime(2024, 1, 1, tzinfo=UTC)
    found = client.do("logs", "f", "openfaas-fn", since=since, tail=7, follow=False, instance="f-1")
    assert [message.text for message in found] == ["0\n", "1\n", "2\n"]
    assert gateway.last("GET", "/system/logs").query == {
        "name": "f", "namespace": "openfaas-fn", "instance": "f-1", "tail": "7", "follow": "false",
        "since": "2024-01-01T00:00:00+00:00",
    }  # fmt: skip
    client.do("logs", "f", call_id="a-1", with_calls=True)
    assert gateway.last("GET", "/system/logs").query == {
        "name": "f", "tail": "-1", "follow": "false", "call_id": "a-1", "calls": "true",
    }  # fmt: skip
    with pytest.raises(errors.FunctionNotFound):
        client.do("logs", "g")
    with pytest.raises(errors.Invalid, match="time zone"):
        client.do("logs", "f", since=datetime(2024, 1, 1))  # noqa: DTZ001 - that is the mistake


def test_a_function_gets_the_call_and_not_the_credentials(client: Either, gateway: Gateway) -> None:
    """The gateway's password must not reach a function's code."""
    gateway.add("f", "dev")
    gateway.bodies["f"] = lambda call: Reply(201, b"<" + call.body + b">", {"X-Call-Id": "7"})
    answer = client.do(
        "invoke", "f", b"in", namespace="dev", method="PUT", path="a b/c", query=[("q", "1&2")], headers=[("X-A", "é")]
    )
    assert (answer.status, answer.body, answer.call_id, answer.ok) == (201, b"<in>", "7", True)
    call = gateway.calls[-1]
    assert (call.method, call.path, call.query, call.body) == ("PUT", "/function/f.dev/a b/c", {"q": "1&2"}, b"in")
    assert "authorization" not in call.headers
    client.do("info")
    assert gateway.calls[-1].headers["authorization"].startswith("Basic ")


def test_failures_of_a_function_are_answers(client: Either, gateway: Gateway) -> None:
    """The caller decides what a status means."""
    gateway.add("f")
    gateway.bodies["f"] = lambda _: Reply(500, b"boom")
    answer = client.do("invoke", "f")
    assert (answer.status, answer.text, answer.ok) == (500, "boom", False)


def test_bodies_stream_both_ways(client: Either, gateway: Gateway) -> None:
    """An iterable is sent as chunks."""
    gateway.add("f")
    gateway.bodies["f"] = lambda call: Reply(chunks=[call.body[:5], call.body[5:]])
    assert client.stream("f", iter([b"abc", b"", b"defg"])) == (200, b"abcdefg")
    assert gateway.calls[-1].headers["transfer-encoding"] == "chunked"


def test_queued_calls(client: Either, gateway: Gateway) -> None:
    """The call id comes back, the call-back goes along."""
    gateway.add("f")
    gateway.bodies["f"] = lambda _: Reply()
    assert client.do("invoke_async", "f", b"x", callback_url="http://done") == "call-1"
    call = gateway.last("POST", "/async-function/f")
    assert (call.headers["x-callback-url"], call.body) == ("http://done", b"x")
    with pytest.raises(errors.FunctionNotFound):
        client.do("invoke_async", "g")


def test_wrong_credentials(either: Either, gateway: Gateway) -> None:
    """Each says what to do."""
    for auth in (None, BasicAuth(USER, "wrong"), TokenAuth("t")):
        with pytest.raises(errors.Unauthenticated) as caught:
            either.open(gateway.url, auth=auth).do("info")
        assert "hilbert login" in caught.value.hint
    assert PASSWORD not in repr(BasicAuth(USER, PASSWORD))
    assert "secret-token" not in repr(TokenAuth("secret-token"))


def test_connections_are_kept(client: Either, gateway: Gateway) -> None:
    """Twenty calls make one connection."""
    ports = set()
    answer = gateway.answer
    gateway.answer = lambda call: answer(call)  # type: ignore[method-assign]  # counted below
    handler = gateway._server.RequestHandlerClass
    setup = handler.setup

    def counted(self: Any) -> None:
        ports.add(self.client_address)
        setup(self)

    handler.setup = counted  # type: ignore[method-assign]  # counts connections
    for _ in range(20):
        client.do("list_namespaces")
    assert len(ports) == 1


def test_a_kept_connection_that_was_closed_is_replaced(either: Either) -> None:
    """The caller does not notice."""
    with _Serving(0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]") as server:
        either.open(f"http://127.0.0.1:{server.port}")
        for number in range(1, 4):
            assert either.do("list_namespaces") == []
            assert server.connections == number


class _Serving:
    """A server that answers every connection with the same bytes after the request's head, then closes."""

    def __init__(
        self, port: int, answer: bytes, *, before: Callable[[socket.socket, bytes], None] | None = None
    ) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.answer = answer
        self.before = before
        self.connections = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, contextlib.suppress(OSError):
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    data += piece
                if self.before is not None:
                    self.before(connection, data.partition(b"\r\n\r\n")[2])
                connection.sendall(self.answer)

    def __enter__(self) -> _Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "before the answer began"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]", "in the middle"),
        (b"220 smtp ready\r\n", "not HTTP"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a": 1', "cannot be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1, 2, 3]", "cannot be read"),
    ],
)
def test_broken_answers_are_said_to_be_broken(either: Either, answer: bytes, why: str) -> None:
    """With what is wrong."""
    with _Serving(0, answer) as server, pytest.raises(BrokenAnswer, match=why):
        either.open(f"http://127.0.0.1:{server.port}").do("list_namespaces")


def test_nobody_there(either: Either) -> None:
    """Names the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(GatewayUnreachable, match=f"127.0.0.1:{port}"):
        either.open(f"http://127.0.0.1:{port}").do("info")


def test_a_gateway_that_does_not_answer_is_not_waited_for_forever(either: Either) -> None:
    """Neither for the head nor for the rest."""
    silent = threading.Event()

    def hold(_connection: socket.socket, _rest: bytes) -> None:
        silent.wait(10)

    def drip(connection: socket.socket, _rest: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[")
        silent.wait(10)

    for before in (hold, drip):
        with _Serving(0, b"", before=before) as server:
            with pytest.raises(GatewayTimeout, match="in time"):
                either.open(f"http://127.0.0.1:{server.port}", timeout=0.1).do("list_namespaces")
            silent.set()
        silent.clear()


def test_an_early_refusal_is_read_although_sending_fails(either: Either) -> None:
    """A gateway may answer 413 and close while the body still comes."""
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"

    def answer_first(connection: socket.socket, _rest: bytes) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with _Serving(0, b"", before=answer_first) as server:
        server.answer = b""
        status, body = either.open(f"http://127.0.0.1:{server.port}", timeout=10).stream(
            "f", (b"x" * 65536 for _ in range(200))
        )
    assert (status, body) == (413, b"big")


def test_an_answer_that_comes_while_the_body_is_sent_does_not_block(either: Either) -> None:
    """An echo of more than all buffers hold, through one connection."""
    total = 16 * 1024 * 1024

    def echo(connection: socket.socket, rest: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + rest)
        left = total - len(rest)
        while left > 0:
            data = connection.recv(65536)
            if not data:
                return
            left -= len(data)
            connection.sendall(data)

    with _Serving(0, b"", before=echo) as server:
        _status, body = either.open(f"http://127.0.0.1:{server.port}", timeout=20).stream("f", b"x" * total)
    assert len(body) == total


def test_an_answer_that_is_too_long_is_refused(client: Either, gateway: Gateway) -> None:
    """Memory is bounded by the caller."""
    gateway.add("f")
    gateway.bodies["f"] = lambda _: Reply(body=b"x" * 1000)
    with pytest.raises(BrokenAnswer, match="longer than 999 bytes"):
        client.do("invoke", "f", limit=999)
    assert client.do("invoke", "f", limit=1000).ok


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_cannot_be_another_path(client: Either, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(errors.Invalid):
        client.do("get_function", name)


def test_a_name_is_one_segment(client: Either, gateway: Gateway) -> None:
    """Slashes and question marks do not end it."""
    with pytest.raises(errors.FunctionNotFound):
        client.do("get_function", "a/b?c")
    assert gateway.calls[-1].path == "/system/function/a/b?c"
    assert gateway.calls[-1].query == {}


def test_both_clients_have_the_same_methods() -> None:
    """With the same parameters."""

    def surface(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if callable(member) and not name.startswith("_")
        }

    assert surface(Client) == surface(AsyncClient)


def test_many_tasks_share_one_client(gateway: Gateway) -> None:
    """Answers do not get mixed up."""
    gateway.add("f")
    gateway.bodies["f"] = lambda call: Reply(body=call.body)

    async def run() -> list[str]:
        async with AsyncClient(gateway.url) as client:
            answers = await asyncio.gather(*(client.invoke("f", str(n).encode()) for n in range(50)))
        return [answer.text for answer in answers]

    assert asyncio.run(run()) == [str(n) for n in range(50)]


def test_a_body_that_raises_ends_the_call(gateway: Gateway) -> None:
    """With its own exception, in either client."""
    gateway.add("f")
    gateway.bodies["f"] = lambda call: Reply(body=call.body)

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise LookupError("gone")

    with Client(gateway.url, timeout=5) as client, pytest.raises(LookupError), client.stream("f", broken()):
        pass

    async def run() -> None:
        async with AsyncClient(gateway.url, timeout=5) as client, client.stream("f", broken()):
            pass

    with pytest.raises(LookupError):
        asyncio.run(run())


def test_a_trace_shows_requests_without_credentials(either: Either, gateway: Gateway) -> None:
    """For people who look for a mistake, and may show it to others."""
    seen: list[str] = []
    either.open(gateway.url, auth=BasicAuth(USER, PASSWORD), trace=seen.append)
    either.do("create_secret", "s", b"hidden-value")
    (text,) = seen
    assert text.startswith(f"POST {gateway.url}/system/secrets\n")
    assert "Authorization: Basic [redacted]\n" in text
    assert "hidden-value" not in text
    assert "aGlkZGVuLXZhbHVl" not in text  # The same in base64.


def test_everything_that_is_public_is_there() -> None:
    """The names that users import."""
    import hilbert.client

    assert sorted(hilbert.client.__all__) == hilbert.client.__all__
    for name in hilbert.client.__all__:
        assert getattr(hilbert.client, name).__name__ == name
    with pytest.raises(AttributeError):
        hilbert.client.nothing  # noqa: B018 - the look-up is the test
