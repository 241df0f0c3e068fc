"""A hostile client sends bodies that never end, each within its limit, over as many connections as it gets.

The control process holds a body until it is whole: without a bound on all of them a stranger fills its memory with as much as all
connections may send (CWE-770).
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from attack.client.test_control import place
from attack.victim import MIB
from hilbert.api.held import ROOM
from support.dataplane import until
from support.platform import Platform
from support.wire import Closed, Wire

LENGTH = 4 * MIB
COUNT = 120


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    made = Platform("gateway.workers=1")
    try:
        made.start()
        yield made
    finally:
        made.close()


def memory(platform: Platform) -> int:
    (control,) = platform.children("hilbert.server.control")
    return int(control.memory_info().rss)


def token(platform: Platform) -> str:
    answer = platform.api(
        "POST", "/system/tokens", {"name": "hoarder", "namespaces": ["openfaas-fn"], "role": "developer"}
    )
    assert answer.status == 201, answer.text
    return str(json.loads(answer.body)["token"])


@pytest.mark.bound("api-bodies")
@pytest.mark.parametrize("kind", ["a stranger", "a tenant"])
def test_bodies_that_never_end(platform: Platform, kind: str) -> None:
    """What is held of all has a bound; others of the same class have room, and the administrator deploys."""
    if kind == "a stranger":
        path, credentials = "/oauth/token", ""
    else:
        path, credentials = "/system/functions", f"Authorization: Bearer {token(platform)}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{credentials}Content-Type: application/json\r\n"
    request = f"{head}Content-Length: {LENGTH}\r\n\r\n".encode() + b" " * (LENGTH - 1)
    before = memory(platform)
    statuses = []
    with contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(
                Wire(socket.create_connection(place(platform.url), source_address=("127.0.0.2", 0), timeout=10))
            )
            for _ in range(COUNT)
        ]
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.send(request)
            wire.sock.settimeout(0.05)
            with contextlib.suppress(TimeoutError, Closed, OSError):
                statuses.append(wire.response().status)
        assert set(statuses) == {503}
        assert len(statuses) > COUNT / 2
        assert memory(platform) - before < ROOM + 32 * MIB
        body = {"service": f"during-{kind[2:]}", "image": "hilbert/alpine", "envProcess": "cat"}
        assert platform.api("POST", "/system/functions", body).status == 202
        if kind == "a stranger":  # Another address has a share of its own.
            assert platform.call("/oauth/token", b"x=" + b"y" * 60_000).status == 400
    until(lambda: _is_free(platform, head), what="room to be given back")


def _is_free(platform: Platform, head: str) -> bool:
    with Wire(socket.create_connection(place(platform.url), source_address=("127.0.0.2", 0), timeout=10)) as wire:
        wire.send(f"{head}Content-Length: 1000000\r\n\r\n".encode() + b" " * 1_000_000)
        return wire.response().status == 400
