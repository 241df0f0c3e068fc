"""A hostile function answers something that is no answer: 502, its connection closed, and never an answer to somebody else.

Each case names the CVE of a comparable system that took such bytes, where there is one.
"""

from __future__ import annotations

import pytest

from attack.victim import Victim
from support.dataplane import Plane, until
from support.replicas import Call
from support.wire import Closed

INNER = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsmuggled!"

HEADS = {
    "status 000": b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 None\r\nContent-Length: 0\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "signed status": b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9 without a head": b"<html>hello</html>\r\n\r\n",
    # CVE-2022-1705 (Go), CVE-2024-1135 (Gunicorn), CVE-2019-18277 (HAProxy): codings that only one side understands.
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
    "chunked, identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "xchunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "vertical tab": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # CVE-2019-20445 (Netty): two framings.
    "length, then chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunked, then length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + INNER,
    # CVE-2019-20445 (Netty): lengths that differ or are none.
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 60\r\n\r\nabc" + INNER,
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nabc",
    "split length": b"HTTP/1.1 200 OK\r\nContent-Length: 3 3\r\n\r\nabc",
    # CVE-2019-16869 (Netty), CVE-2021-22959 (llhttp): a space before the colon.
    "space before the colon": b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "space in a name": b"HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 0\r\n\r\n",
    # CVE-2023-25725 (HAProxy): an empty name ends the head for some.
    "empty name": b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n",
    # CVE-2019-20444 (Netty): a line without a colon.
    "no colon": b"HTTP/1.1 200 OK\r\nX-Nothing\r\nContent-Length: 0\r\n\r\n",
    # CVE-2023-30589, CVE-2022-32214 and CVE-2022-35256 (llhttp), CVE-2024-24795 and CVE-2022-37436 (Apache): bare CR and LF, splitting.
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare LF in one line": b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
    # CVE-2022-32215 (llhttp), CVE-2020-7238 (Netty), CVE-2024-27982 (Node.js): lines that fold.
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "folded with a tab": b"HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\nContent-Length: 0\r\n\r\n",
    "folded first": b"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "NUL in a name": b"HTTP/1.1 200 OK\r\nX\x00: a\r\nContent-Length: 0\r\n\r\n",
    "control character": b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n",
    # CVE-2025-43859 (h11), CVE-2025-22871 (Go), CVE-2025-55315 (Kestrel): chunks with other ends.
    "chunk size that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n",
    "negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "chunk size that overflows": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "LF behind a chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "LF in a chunk extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    "no end of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n",
}  # fmt: skip

UNASKED = {
    # What looks like a change of protocol makes a proxy stop looking.
    "unasked change of protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "unasked, to the last protocol known": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "without Upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
    "without Connection": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "bare 101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
}

SECRET = "Authorization: Bearer of-the-client\r\n"


def hostile(plane: Plane, answer: bytes) -> str:
    """A function that answers with these bytes, and then with what looks like another's answer."""

    def script(call: Call) -> None:
        call.body()
        call.wire.send(answer)
        call.wire.send(INNER)
        raise Closed(call.wire.rest())  # Whatever the gateway may still say.

    name, _ = plane.function(script)
    return name


@pytest.mark.parametrize("answer", [*HEADS.values(), *UNASKED.values()], ids=[*HEADS, *UNASKED])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_no_answer_is_answered_with_502(plane: Plane, answer: bytes, method: str) -> None:
    """The client's connection goes on, and its next request is answered by the function that it asks."""
    victim = Victim(plane)
    name = hostile(plane, answer)
    length = "Content-Length: 2\r\n\r\nab" if method == "POST" else "\r\n"
    with plane.connect() as wire:
        wire.send(f"{method} /function/{name} HTTP/1.1\r\nHost: x\r\n{SECRET}{length}".encode())
        got = wire.response()
        assert got.status == 502, got
        assert got.get("X-Hilbert-Error") == b"upstream-unreachable"
        assert b"smuggled" not in got.body
        victim.call(wire)
    assert not victim.wrong, victim.wrong


@pytest.mark.parametrize(
    "upgrade", [b"h2c", b"websocket, h2c", b"websocket\r\nUpgrade: h2c", b"", b"websocket2"], ids=repr
)
def test_a_change_to_another_protocol_than_was_asked_for(plane: Plane, upgrade: bytes) -> None:
    """The client wants a WebSocket."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade
    name = hostile(plane, head)
    with plane.connect() as wire:
        wire.send(
            f"GET /function/{name} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
        )
        assert wire.response().status == 502


def test_bytes_behind_an_answer_belong_to_nobody(plane: Plane) -> None:
    """With it or after it: the answer passes, the connection is closed, and the next call has a new one."""
    ends: list[bytes] = []

    def script(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine" + INNER)
        ends.append(call.wire.rest())

    name, (replica,) = plane.function(script)
    with plane.connect() as wire:
        for number in range(1, 4):
            wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert wire.response().body == b"mine"
            until(lambda number=number: len(ends) == number, what="the connection's end")  # type: ignore[misc]
    assert replica.connections == 3


def test_an_answer_before_the_request(plane: Plane) -> None:
    """A function that speaks first is not listened to: the call ends in time, and nobody gets what it said."""
    spoken = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"
    name, (replica,) = plane.function(lambda call: call.answer(b"asked"))
    replica.greeting = spoken
    victim = Victim(plane)
    with plane.connect() as wire:
        for _ in range(5):
            wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = wire.response()
            assert (got.status, got.body) in ((200, b"early"), (200, b"asked"), (502, got.body))
            victim.call(wire)
    assert not victim.wrong, victim.wrong


def test_an_answer_before_the_body_is_sent(plane: Plane) -> None:
    """Its connection is not used again: the rest of the body would be another request there."""
    seen: list[bytes] = []

    def script(call: Call) -> None:
        seen.append(call.head.method)
        call.answer(b"enough")
        seen.append(call.wire.rest())

    name, (replica,) = plane.function(script)
    victim = Victim(plane)
    inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    with plane.connect() as wire:
        head = f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(inner)}\r\n\r\n"
        wire.send(head.encode())
        assert wire.response().body == b"enough"
        wire.send(inner)
        victim.call(wire)
    assert not victim.wrong, victim.wrong
    assert plane.call(f"/function/{name}").body == b"enough"
    assert replica.connections == 2
    assert inner not in b"".join(seen)


def test_no_answer_to_head_has_a_body(plane: Plane) -> None:
    """What stands there is not taken for the next answer (CVE-2024-24791 in Go is of this kind)."""
    name = hostile(plane, b"HTTP/1.1 200 OK\r\nContent-Length: 59\r\n\r\n")
    victim = Victim(plane)
    with plane.connect() as wire:
        wire.send(f"HEAD /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.response(to=b"HEAD").status == 200
        victim.call(wire)
    assert not victim.wrong, victim.wrong


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_have_none(plane: Plane, status: int) -> None:
    """Whatever Content-Length says."""
    name = hostile(plane, b"HTTP/1.1 %d Any\r\nContent-Length: 38\r\n\r\n" % status)
    victim = Victim(plane)
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.response().status == status
        victim.call(wire)
    assert not victim.wrong, victim.wrong


OF_THE_GATEWAY = (
    b'X-Call-Id: forged\r\nX-Hilbert-Error: rate-limited\r\nClear-Site-Data: "*"\r\nService-Worker-Allowed: /\r\n'
    b'Set-Cookie: a=b; Path=/\r\nWWW-Authenticate: Basic realm="Restricted"\r\nContent-Type: text/html\r\nAlt-Svc: h2="evil:1"\r\n'
)
"""What a function says of the whole origin, of the gateway, or of how its answer is read."""


@pytest.mark.parametrize("browser", [True, False])
def test_trailers_say_nothing_that_a_head_may_not(plane: Plane, browser: bool) -> None:
    """Whoever merges them into the head would believe them."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n"
    name = hostile(plane, head + OF_THE_GATEWAY + b"Location: /ui/\r\n\r\n")
    agent = "User-Agent: Mozilla/5.0\r\n" if browser else ""
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n{agent}\r\n".encode())
        answer = wire.response()
    assert (answer.status, answer.body, answer.trailers) == (200, b"abc", [(b"X-Sum", b"7")])


@pytest.mark.parametrize("browser", [True, False])
def test_interim_answers_say_nothing_that_a_head_may_not(plane: Plane, browser: bool) -> None:
    head = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n" + OF_THE_GATEWAY + b"\r\n"
    name = hostile(plane, head)
    agent = "User-Agent: Mozilla/5.0\r\n" if browser else ""
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n{agent}\r\n".encode())
        interim = wire.head()
    assert (interim.status, interim.headers) == (103, [(b"Link", b"</a>; rel=preload")])
