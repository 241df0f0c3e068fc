"""What a Python user types: text as a body, maps of headers, lists of secrets, and waiting until a function is ready."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import hilbert.client
from hilbert.client import ActivationTimeout, BasicAuth, Client, Deployment, GatewayUnreachable, Invalid, StartFailed
from hilbert.client.running import LocalGateway, find_with_auth, is_alive
from support.cli import Gateway, Reply
from support.clients import Either
from support.platform import until


def test_text_goes_as_utf_8_and_headers_as_a_map_or_pairs(client: Either, gateway: Gateway) -> None:
    for headers in ({"X-One": "1"}, [("X-One", "1")], (("X-One", "1"),)):
        gateway.script["POST", "/function/f.dev"] = [Reply(body=b"ok")]
        answer = client.do("invoke", "f", "Größe", namespace="dev", headers=headers, query={"a": "b c"})
        assert answer.text == "ok"
        sent = gateway.last("POST", "/function/f.dev")
        assert sent.body == "Größe".encode()
        assert sent.headers["x-one"] == "1"
        assert sent.query == {"a": "b c"}


@pytest.mark.parametrize("headers", ["X-One: 1", ["X-One: 1"], [("X-One", 1)], {"X-One": 1}, [("a", "b", "c")]])
def test_what_is_no_header_is_said(client: Either, headers: Any) -> None:
    with pytest.raises(Invalid, match="is not a name and a value"):
        client.do("invoke", "f", headers=headers)


@pytest.mark.parametrize("body", [{"a": 1}, 5, ["text", 1], [{"a": 1}]])
def test_what_is_no_body_is_said(client: Either, body: Any) -> None:
    with pytest.raises(Invalid, match="must be bytes or text, not"):
        client.do("invoke", "f", body)


def test_bytes_and_text_of_any_kind_are_bodies(client: Either, gateway: Gateway) -> None:
    for body in (bytearray(b"text"), memoryview(b"text"), ["te", "xt"], io.StringIO("text"), iter([b"text"])):
        gateway.script["POST", "/function/f"] = [Reply(body=b"ok")]
        client.do("invoke", "f", body)
        assert gateway.last("POST", "/function/f").body == b"text", body


def test_a_secret_may_be_text(client: Either, gateway: Gateway) -> None:
    client.do("create_secret", "a", "Größe")
    assert base64.b64decode(gateway.last("POST", "/system/secrets").json["rawValue"]) == "Größe".encode()
    with pytest.raises(Invalid, match="the value of a secret must be bytes or text, not int"):
        client.do("create_secret", "a", 5)


def test_text_can_be_streamed(client: Either, gateway: Gateway) -> None:
    gateway.script["POST", "/function/f"] = [Reply(body=b"ok")]
    assert client.stream("f", "text") == (200, b"ok")
    assert gateway.last("POST", "/function/f").body == b"text"


def test_secrets_are_any_sequence(client: Either, gateway: Gateway) -> None:
    client.do("create_secret", "a", b"1")
    client.do("create_secret", "b", b"2")
    client.do("deploy", Deployment(service="f", image="i", secrets=["a", "b"]))
    assert gateway.last("POST", "/system/functions").json["secrets"] == ["a", "b"]


def status(phase: str, available: int = 0, **more: str) -> Reply:
    detail = {"phase": phase, "generation": 1, **more}
    body = {"name": "f", "namespace": "dev", "availableReplicas": available, "hilbert": detail}
    return Reply(body=json.dumps(body).encode())


def test_waiting_until_a_function_is_ready(client: Either, gateway: Gateway) -> None:
    path = ("GET", "/system/function/f")
    gateway.script[path] = [status("starting"), status("updating", 1), status("ready", 1)]
    assert client.do("wait_ready", "f", "dev").available_replicas == 1
    gateway.script[path] = [status("idle")]
    assert client.do("wait_ready", "f", "dev").hilbert.phase == "idle"
    gateway.script[path] = [status("starting"), status("failed", reason="CrashLoop", message="exit status 1")]
    with pytest.raises(StartFailed, match=r"f\.dev does not start: CrashLoop: exit status 1"):
        client.do("wait_ready", "f", "dev")
    gateway.script[path] = [status("starting")]
    with pytest.raises(ActivationTimeout, match="starting"):
        client.do("wait_ready", "f", "dev", timeout=0)


def test_waiting_at_another_gateway(client: Either, gateway: Gateway) -> None:
    gateway.script["GET", "/system/function/f"] = [
        Reply(body=b'{"name":"f"}'),
        Reply(body=b'{"name":"f","availableReplicas":1}'),
    ]
    assert client.do("wait_ready", "f").available_replicas == 1


def test_tokens_and_rights(client: Either, gateway: Gateway) -> None:
    info = b'{"id":"1","name":"ci","role":"viewer","namespaces":["dev"]}'
    gateway.script["POST", "/system/tokens"] = [Reply(status=201, body=b'{"token":"hilbert_1_2","info":%s}' % info)]
    made = client.do("create_token", "ci", "viewer", ["dev"], expires_in="90d")
    assert (made.token, made.info.id) == ("hilbert_1_2", "1")
    assert "hilbert_1_2" not in repr(made)
    assert gateway.last("POST", "/system/tokens").json == {
        "name": "ci",
        "role": "viewer",
        "namespaces": ["dev"],
        "expiresIn": "90d",
    }
    gateway.script["GET", "/system/tokens"] = [Reply(body=b"[%s]" % info)]
    assert [token.name for token in client.do("list_tokens")] == ["ci"]
    gateway.script["DELETE", "/system/tokens/1"] = [Reply(status=202)]
    client.do("revoke_token", "1")
    gateway.script["GET", "/system/whoami"] = [
        Reply(body=b'{"identity":"token:1","rights":{"dev:*":["Function:Get"]}}')
    ]
    assert client.do("whoami").rights == {"dev:*": ["Function:Get"]}
    gateway.script["GET", "/system/can-i"] = [Reply(body=b'{"allowed":false,"action":"a","resource":"dev:*"}')]
    assert client.do("can_i", "Function:Create", "dev:*") is False
    assert gateway.last("GET", "/system/can-i").query == {"action": "Function:Create", "resource": "dev:*"}


def test_the_gateway_of_this_machine(tmp_path: Path) -> None:
    environ = {"HILBERT_STATE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    with pytest.raises(GatewayUnreachable, match="no gateway runs on this machine"):
        find_with_auth(environ)
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "basic-auth-user").write_text("admin")
    (tmp_path / "auth" / "basic-auth-password").write_text("pw\n")
    gateway = LocalGateway(url="http://127.0.0.1:1/", pid=os.getpid())
    (tmp_path / "gateway.json").write_bytes(msgspec.json.encode(gateway))
    with pytest.raises(GatewayUnreachable):  # This process is no gateway.
        find_with_auth(environ)
    alive = subprocess.Popen([sys.executable, "-c", "input()", "hilbert.server"], stdin=subprocess.PIPE)
    try:
        gateway = msgspec.structs.replace(gateway, pid=alive.pid)
        (tmp_path / "gateway.json").write_bytes(msgspec.json.encode(gateway))
        until(lambda: is_alive(gateway), what="the process to have its command line")
        assert find_with_auth(environ) == ("http://127.0.0.1:1", BasicAuth("admin", "pw"))
    finally:
        alive.communicate(b"\n")


def test_the_client_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hilbert.client.running, "find_with_auth", lambda _environ: ("http://127.0.0.1:1", None))
    with Client.local(timeout=3) as client:
        assert (client.url, client.timeout) == ("http://127.0.0.1:1", 3)


def test_all_that_is_promised_is_there() -> None:
    for name in hilbert.client.__all__:
        assert getattr(hilbert.client, name).__name__ == name
    with pytest.raises(AttributeError):
        hilbert.client.__getattr__("nothing")
    assert sys.modules["hilbert.client"].Invalid is Invalid
