"""A hostile client goes for the control process: connections to the API and to the metrics port, more than it has descriptors for."""

from __future__ import annotations

import contextlib
import json
import socket
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from support.dataplane import until
from support.platform import Answer, Platform
from support.wire import Wire

FEW = 384
"""Descriptors that each process of the platform may have."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    made = Platform("provider.name=memory", "gateway.workers=1", "gateway.max_source_connections=100")
    made.command = ("prlimit", f"--nofile={FEW}:{FEW}", *made.command)
    try:
        made.start()
        yield made
    finally:
        made.close()


def place(url: object) -> tuple[str, int]:
    parts = urlsplit(str(url))
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def deploys(platform: Platform, name: str) -> bool:
    """The administrator deploys a function, and finds it."""
    made: Answer = platform.api("POST", "/system/functions", {"service": name, "image": "echo"})
    return made.status == 202 and name in [
        one["name"] for one in json.loads(platform.api("GET", "/system/functions").body)
    ]


def control_files(platform: Platform) -> int:
    (control,) = platform.children("hilbert.server.control")
    return int(control.num_fds())


def opened(stack: contextlib.ExitStack, where: tuple[str, int], source: str) -> Wire:
    return stack.enter_context(Wire(socket.create_connection(where, source_address=(source, 0), timeout=10)))


@pytest.mark.bound("metrics-connections")
def test_a_flood_of_connections_to_the_metrics_port(platform: Platform) -> None:
    """Beyond the bound they are closed; the API goes on, and so do scrapes of somebody else."""
    where = place(platform.facts["metrics_url"])
    with contextlib.ExitStack() as stack:
        for _ in range(FEW):
            with contextlib.suppress(OSError):
                opened(stack, where, "127.0.0.2").send(b"GET /metrics HTTP/1.1\r\nX: ")
        assert control_files(platform) < FEW * 5 // 8
        assert deploys(platform, "during-metrics")
        scrape = opened(stack, where, "127.0.0.3")
        scrape.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in scrape.rest()


@pytest.mark.parametrize("kind", ["a head without end", "nothing"])
def test_a_head_that_does_not_end_at_the_metrics_port(platform: Platform, kind: str) -> None:
    """Bounded in bytes and in time."""
    with contextlib.ExitStack() as stack:
        wire = opened(stack, place(platform.facts["metrics_url"]), "127.0.0.2")
        wire.sock.settimeout(30)
        with contextlib.suppress(OSError):
            if kind != "nothing":
                wire.send(b"GET /metrics HTTP/1.1\r\n")
                for _ in range(1024):
                    wire.send(b"X: " + b"a" * 65536 + b"\r\n")
                raise AssertionError("64 MiB of a head were taken")
            assert wire.rest() == b""


@pytest.mark.bound("control-connections")
@pytest.mark.parametrize("known", [True, False], ids=["with a password", "without"])
def test_a_flood_of_slow_requests_to_the_api(platform: Platform, known: bool) -> None:
    """From several addresses, with bodies that never end: the administrator deploys all the same."""
    word = b64encode(f"admin:{platform.password}".encode()).decode() if known else "bm9ib2R5Og=="
    head = f"POST /system/functions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {word}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode()
    with contextlib.ExitStack() as stack:
        for number in range(240):
            with contextlib.suppress(OSError):
                opened(stack, place(platform.url), f"127.0.0.{2 + number // 60}").send(request)
        assert control_files(platform) < FEW * 7 // 8
        until(lambda: platform.api("GET", "/system/info").status == 200, what="the API")
        assert deploys(platform, f"during-{known}".lower())
