"""A hostile client says that it is somebody else: trusted proxies are believed, and nobody else is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hilbert.dataplane.forwarded import MOST
from support.dataplane import Plane, until
from support.replicas import mirror


@pytest.mark.bound("source-connections")
def test_calls_of_one_caller_behind_a_trusted_proxy() -> None:
    """The connections are the proxy's; what is counted are the calls of each client that it names."""
    plane = Plane(trusted_proxies="127.0.0.0/8", max_source_connections=3)
    go = threading.Event()
    try:
        name, _ = plane.function(lambda call: (go.wait(30), call.answer(b"done")))
        request = "GET /function/{} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {}\r\n\r\n"
        wires = [plane.connect() for _ in range(4)]
        for wire in wires[:3]:
            wire.send(request.format(name, "192.0.2.1").encode())
        until(lambda: len(plane.replicas[0].calls) == 3, what="the calls to arrive")
        wires[3].send(request.format(name, "192.0.2.1:4711").encode())
        assert (answer := wires[3].response()).status == 503
        assert answer.get("X-Hilbert-Error") == b"too-many-calls"
        wires[3].send(request.format(name, "192.0.2.2").encode())
        until(lambda: len(plane.replicas[0].calls) == 4, what="the other's call to arrive")
        go.set()
        assert [wire.response().body for wire in wires] == [b"done"] * 4
        for wire in wires[:3]:
            wire.send(request.format(name, "192.0.2.1").encode())
            assert wire.response().body == b"done"
        for wire in wires:
            wire.close()
    finally:
        go.set()
        plane.close()


FORWARDED = [
    ("X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: shop.example", b"192.0.2.7", b"https", b"shop.example"),
    # What the client wrote before the proxies' own entries is its own word.
    ("X-Forwarded-For: 6.6.6.6, 192.0.2.7, 127.0.0.9", b"192.0.2.7", b"", b"gateway"),
    ("X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 192.0.2.7", b"192.0.2.7", b"", b"gateway"),
    ("X-Forwarded-For: evil, 127.0.0.9", b"127.0.0.9", b"", b"gateway"),
    ("X-Forwarded-For: 2001:db8::7", b"2001:db8::7", b"", b"gateway"),
    ("X-Forwarded-Host: evil, shop.example\nX-Forwarded-For: 192.0.2.7", b"192.0.2.7", b"", b"shop.example"),
    ("X-Forwarded-Host: a b\nX-Forwarded-Proto: gopher\nX-Forwarded-For: 192.0.2.7", b"192.0.2.7", b"", b"gateway"),
    ('Forwarded: for=6.6.6.6, for="[2001:db8::7]:80";proto=https;host="shop.example"', b"[2001:db8::7]:80", b"https", b"shop.example"),
    ("Forwarded: for=6.6.6.6;host=evil\nX-Forwarded-For: 192.0.2.7", b"192.0.2.7", b"", b"gateway"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "address", "scheme", "host"), FORWARDED)
def test_what_a_trusted_proxy_says(lines: str, address: bytes, scheme: bytes, host: bytes, trusting: Plane) -> None:
    """The function and the REST API hear of the client, the host and the scheme that the proxy saw; one request like the other."""
    name, _ = trusting.function(mirror)
    with trusting.connect() as wire:
        for _ in range(3):
            for target in (f"/function/{name}", "/system/info"):
                head = "".join(f"{line}\r\n" for line in lines.split("\n"))
                wire.send(f"GET {target} HTTP/1.1\r\nHost: gateway\r\n{head}\r\n".encode())
                got = heard(wire.response().body)
                assert got[b"x-forwarded-for"] == [address]
                assert got.get(b"x-forwarded-proto", [b""]) == [scheme or (b"http" if target.startswith("/s") else b"")]
                assert got[b"x-forwarded-host"] == [host]


@pytest.mark.bound("proxies")
@pytest.mark.parametrize("field", ["X-Forwarded-For: {}", "Forwarded: {}"])
def test_a_chain_of_proxies_is_followed_so_far_and_no_further(field: str, trusting: Plane) -> None:
    """Whoever reaches a trusted proxy can write a chain of as many of them as fit in a head: no such chain reaches its far end."""
    name, _ = trusting.function(mirror)

    def chain(proxies: int) -> str:
        places = ["192.0.2.7"] + [f"127.0.0.{number % 250 + 1}" for number in range(proxies)]
        return field.format(", ".join(f"for={one}" if field.startswith("F") else one for one in places))

    with trusting.connect() as wire:
        for proxies, address in ((MOST - 1, b"192.0.2.7"), (MOST, b"127.0.0.1"), (1_000, b"127.0.0.")):
            wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n{chain(proxies)}\r\n\r\n".encode())
            (found,) = heard(wire.response().body)[b"x-forwarded-for"]
            assert found.startswith(address), proxies


def test_a_trusted_proxys_connection_is_no_clients(trusting: Plane) -> None:
    """The address of one request does not stick to the next."""
    name, _ = trusting.function(mirror)
    with trusting.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n".encode())
        assert heard(wire.response().body)[b"x-forwarded-for"] == [b"192.0.2.7"]
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert heard(wire.response().body)[b"x-forwarded-for"][0].startswith(b"127.0.0.1:")


def test_nobody_else_is_believed() -> None:
    """The same words from an address outside the ranges."""
    plane = Plane(trusted_proxies="192.0.2.0/24, 127.0.0.2")
    try:
        name, _ = plane.function(mirror)
        request = f"GET /function/{name} HTTP/1.1\r\nHost: gateway\r\n"
        said = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\r\n"
        for source, believed in (("127.0.0.1", False), ("127.0.0.2", True)):
            with plane.connect_from(source) as wire:
                for _ in range(3):
                    wire.send((request + said).encode())
                    got = heard(wire.response().body)
                    assert (got[b"x-forwarded-for"] == [b"6.6.6.6"]) is believed
                    assert (b"x-forwarded-proto" in got) is believed
                    assert b"forwarded" not in got
    finally:
        plane.close()


def heard(body: bytes) -> dict[bytes, list[bytes]]:
    """The header fields that a mirror got."""
    found: dict[bytes, list[bytes]] = {}
    for line in body.partition(b"\n\n")[0].split(b"\n")[1:]:
        key, _, value = line.partition(b": ")
        found.setdefault(key.lower(), []).append(value)
    return found


@pytest.fixture(scope="module")
def trusting() -> Iterator[Plane]:
    """A worker behind a proxy of its own machine."""
    made = Plane(trusted_proxies="127.0.0.0/8")
    made.start_control(mirror)
    yield made
    made.close()
