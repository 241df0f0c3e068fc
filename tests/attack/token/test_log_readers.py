"""A tenant reads the logs of a function that writes at full speed, over as many connections as it gets: as follower, for its end, whole.

Whoever does not take what it has asked for, and whoever takes all it can get, costs the control process as little as one who reads.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from attack.victim import MIB
from hilbert.api.log_streams import BURST, MOST, PART, RATE
from hilbert.api.services import TENANT_TURNS
from support.platform import Platform, until
from support.wire import Closed, Wire

WRITES = "import os\nline = b'x' * 100 + b'\\n'\nwhile True: os.write(2, line * 100)\n"
ASKED = 100
"""Readers, more than one namespace gets."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    made = Platform("gateway.workers=1")
    try:
        made.start()
        times = dict.fromkeys(("exec_timeout", "write_timeout", "read_timeout"), "300s")
        body = {"service": "writes", "image": "hilbert/alpine", "envProcess": "python3 -"}
        loud = {**body, "envVars": {"mode": "streaming", **times}}
        assert made.api("POST", "/system/functions", loud).status == 202
        until(lambda: made.call("/function/writes", b"print(1)").status == 200, what="the function")
        yield made
    finally:
        made.close()


def memory(platform: Platform) -> int:
    (control,) = platform.children("hilbert.server.control")
    return int(control.memory_info().rss)


@pytest.fixture(scope="module")
def token(platform: Platform) -> str:
    body = {"name": "reader", "namespaces": ["openfaas-fn"], "role": "viewer"}
    answer = platform.api("POST", "/system/tokens", body)
    assert answer.status == 201, answer.text
    return str(json.loads(answer.body)["token"])


@contextlib.contextmanager
def writing(platform: Platform) -> Iterator[None]:
    """The function writes as fast as it can, until the call is given up."""
    parts = urlsplit(platform.url)
    with Wire(socket.create_connection((parts.hostname, parts.port), timeout=30)) as wire:
        wire.send(
            b"POST /function/writes HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            % (len(WRITES), WRITES.encode())
        )
        yield


def ask(
    platform: Platform, stack: contextlib.ExitStack, token: str, query: str, number: int, *, room: int = 4096
) -> Wire:
    parts = urlsplit(platform.url)
    source = (f"127.0.0.{2 + number // 50}", 0)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    raw.bind(source)
    raw.settimeout(10)
    raw.connect((parts.hostname, parts.port))
    wire = stack.enter_context(Wire(raw))
    head = f"GET /system/logs?name=writes&{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    wire.send(head.encode())
    return wire


@pytest.mark.bound("log-streams", "log-batch")
@pytest.mark.parametrize("query", ["follow=1&tail=1", "follow=1", "tail=1000000"])
def test_readers_that_take_nothing(platform: Platform, token: str, query: str) -> None:
    """They are a bounded number, and hold a bounded part of the control process; one who reads goes on, and the administrator is answered."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing(platform))
        honest = ask(platform, stack, token, "follow=1", 0, room=MIB)
        assert honest.head().status == 200
        honest.sock.settimeout(60)
        before = memory(platform)
        wires = [ask(platform, stack, token, query, number) for number in range(ASKED)]
        statuses = [wire.head().status for wire in wires]
        assert set(statuses) == {200, 503}
        # One that was let in at the same moment as another ends at once.
        assert statuses.count(200) <= MOST // PART + TENANT_TURNS
        # They share what the namespace gets; meanwhile they could fill the process at a hundred megabytes a second.
        got = 0
        while got < MIB:
            got += len(honest.sock.recv(65536))
        assert memory(platform) - before < 64 * MIB
        assert platform.api("GET", "/system/functions").status == 200
    until(lambda: platform.api("GET", "/system/logs?name=writes&tail=1").status == 200, what="room for a reader")


@pytest.mark.bound("log-read-rate")
def test_readers_that_take_all_they_can(platform: Platform, token: str) -> None:
    """Together they get what one namespace gets."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(writing(platform))
        wires = [ask(platform, stack, token, "follow=1", number, room=MIB) for number in range(20)]
        got = [0] * len(wires)
        done = threading.Event()

        def take(number: int) -> None:
            with contextlib.suppress(OSError, Closed):
                while not done.is_set() and (data := wires[number].sock.recv(65536)):
                    got[number] += len(data)

        threads = [threading.Thread(target=take, args=(number,)) for number in range(len(wires))]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        until(lambda: sum(got) > 2 * RATE, within=60, what="lines")
        took, taken = time.monotonic() - began, sum(got)
        done.set()
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(30)
    # What sockets, the worker and the control process hold of each on the way is on top of the rate.
    assert taken <= BURST + RATE * took + len(wires) * MIB
