"""The request parser against h11, a second implementation of the same standard.

Where ours accepts, h11 must accept and see the same request; where they differ, the difference is in `explained`, and in
each such case ours is the stricter or the standard leaves the choice.
"""

from __future__ import annotations

import itertools
import re
from urllib.parse import urlsplit

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hilbert.kit.http1 import Headers, Limits, Request, Responder, ServerConnection, TimerWheel
from hilbert.kit.http1.heads import Heads
from support.transports import ManualLoop, MemoryTransport

Seen = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]


class Collect:
    """Answers every whole request, and keeps it."""

    def __init__(self, request: Request, responder: Responder, seen: list[Seen]) -> None:
        self._request = request
        self._responder = responder
        self._seen = seen
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_body_end(self, _trailers: Headers) -> None:
        request = self._request
        headers = [
            # h11 gives codings in lower case.
            (name, value.lower() if name == b"transfer-encoding" else value)
            for name, value in ((name.lower(), value.strip(b" \t")) for name, value in request.headers)
        ]
        self._seen.append((request.method, request.target, headers, self._body))
        self._responder.start(200, [], length=0)
        self._responder.end()

    def on_abort(self) -> None: ...

    def on_drain(self) -> None: ...


def ours(data: bytes, cuts: list[int], heads: Heads | None = None) -> tuple[list[Seen], bool]:
    """Whole requests, and whether something was refused."""
    seen: list[Seen] = []
    wheel = TimerWheel(loop=ManualLoop())  # type: ignore[arg-type]  # what it uses of a loop
    connection = ServerConnection(
        lambda request, responder: Collect(request, responder, seen), Limits(), wheel, heads=heads
    )
    transport = MemoryTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]  # what it uses of a transport
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        connection.data_received(data[start:end])
    answers = transport.sent.split(b"HTTP/1.1 ")[1:]
    return seen, any(not answer.startswith((b"200", b"100")) for answer in answers)


def theirs(data: bytes) -> tuple[list[Seen], bool]:
    """The same from h11."""
    seen: list[Seen] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(data)
    try:
        while True:
            request, body = None, b""
            while True:
                event = connection.next_event()
                if event in (h11.NEED_DATA, h11.PAUSED):
                    return seen, False
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return seen, False
            assert request is not None
            headers = [(bytes(name), bytes(value)) for name, value in request.headers]
            seen.append((bytes(request.method), bytes(request.target), headers, body))
            if request.method == b"CONNECT":
                return seen, False
            connection.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return seen, False
            connection.start_next_cycle()
    except h11.RemoteProtocolError:
        return seen, True


def explained(seen: Seen) -> str:
    """Why ours may refuse, or leave to its own rules, a request that h11 takes; empty: it may not."""
    method, target, headers, _ = seen
    names = [name for name, _ in headers]
    if not target.startswith(b"/") and (target != b"*" or method != b"OPTIONS"):
        return "we take paths and URLs of http alone (RFC 9112, 3.2); h11 leaves the form to its user"
    if not all(0x21 <= byte < 0x7F for byte in target):
        return "llhttp takes no byte in a target that RFC 3986 has not; h11 takes more"
    if b"content-length" in names and b"transfer-encoding" in names:
        return "we refuse both together (RFC 9112, 6.1 permits it); h11 drops Content-Length"
    if names.count(b"content-length") > 1 or any(
        name == b"content-length" and not value.isdigit() for name, value in headers
    ):
        return "we refuse repeated lengths even if they agree (RFC 9112, 6.3 permits it)"
    if any(name == b"content-length" and len(value) > 18 for name, value in headers):
        return "lengths of more than 64 bits"
    if b"upgrade" in names or method == b"CONNECT":
        return "what follows an upgrade is another protocol's"
    if b"expect" in names:
        return "expectations other than 100-continue are refused with 417"
    if any(name == b"connection" for name in names):
        return "h11 reads on after Connection: close, we do not"
    if method not in METHODS:
        return "llhttp knows a fixed list of methods"
    if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for _, value in headers for byte in value):
        return "control characters in values, which we refuse (RFC 9110, 5.5 permits either)"
    if names.count(b"host") > 1:
        return "h11 counts only up to HTTP/1.1's rule; we refuse repetitions for HTTP/1.0 as well"
    return ""


METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"]
token = st.sampled_from([b"X-A", b"x", b"Accept", b"a-b_c.d", b"X A", b"", b"X\x00", b"\xc3\xa4", b"X:"])
value = st.one_of(
    st.sampled_from([b"", b"1", b" a ", b"a\tb", b"a\x00b", b"a\rb", b"a\nb", b"\xff", b"a\x0bb", b"\x7f"]),
    st.binary(max_size=6),
)
framing = st.sampled_from(
    [
        b"Content-Length: 3",
        b"Content-Length: 03",
        b"Content-Length: +3",
        b"Content-Length: 3,3",
        b"content-length:3",
        b"Content-Length : 3",
        b"Content-Length: 0",
        b"Content-Length: 18446744073709551616",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: Chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding:\tchunked",
        b"Host: x",
        b"Host:",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b" folded",
        b"\tfolded",
    ]
)
line = st.one_of(framing, st.tuples(token, value).map(lambda pair: b"%b: %b" % pair), st.binary(max_size=8))
target = st.one_of(
    st.sampled_from(
        [b"/", b"/a%2Fb?c=d", b"*", b"http://x/", b"//", b"/a b", b"", b"/\xff", b"/#f", b"x:80", b"/\x7f"]
    ),
    st.text(alphabet="/a?%.#:", max_size=6).map(str.encode),
)
end = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b" \r\n"])
body = st.one_of(
    st.sampled_from(
        [
            b"",
            b"abc",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"0\r\n\r\n",
            b"3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n",
            b"3\nabc\n0\n\n",
            b"03\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"ffffffffffffffffff\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n",
        ]
    ),
    st.binary(max_size=12),
)


@st.composite
def message(draw: st.DrawFn) -> bytes:
    """Something like a request, right or wrong in one place or several."""
    method = draw(st.sampled_from([*METHODS, b"get", b"G ET", b"", b"BREW", b"CONNECT"]))
    version = draw(
        st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/01.1", b""])
    )
    lines = [b"%b %b %b" % (method, draw(target), version)]
    if draw(st.integers(0, 9)):
        lines.append(b"Host: x")
    lines += draw(st.lists(line, max_size=4))
    return b"".join(one + draw(end) for one in [*lines, b""]) + draw(body)


@settings(max_examples=1500)
@given(st.lists(message(), min_size=1, max_size=3).map(b"".join), st.lists(st.integers(0, 200), max_size=4))
@example(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [])
@example(
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: y\r\n\r\n",
    [70, 75],
)
def test_no_request_that_h11_does_not_see(data: bytes, cuts: list[int]) -> None:
    """Each request that reaches a handler is one that h11 reads from the same bytes, up to the first difference explained."""
    mine, refused = ours(data, cuts)
    other, wrong = theirs(data)
    for at, request in enumerate(mine):
        if at and explained(mine[at - 1]):
            return  # The two may go separate ways behind this one.
        if at >= len(other):
            assert wrong, request
            assert lenient(data), request
            return
        assert request == as_a_path(other[at])
    if len(other) > len(mine):
        assert refused or (mine and explained(mine[-1])), other[len(mine)]
        assert not refused or explained(other[len(mine)]) or stricter(data), other[len(mine)]


def as_a_path(seen: Seen) -> Seen:
    """A request in absolute form as one with a path and a Host (RFC 9112, 3.2.2)."""
    method, target, headers, body = seen
    if not target.lower().startswith((b"http://", b"https://")):
        return seen
    parts = urlsplit(target)
    path = target[target.index(parts.netloc) + len(parts.netloc) :]
    if not path.startswith(b"/"):
        path = b"*" if not path and method == b"OPTIONS" else b"/" + path
    return method, path, [(name, parts.netloc if name == b"host" else value) for name, value in headers], body


def lenient(data: bytes) -> str:
    """Why ours may take a request that h11 does not."""
    if any(byte >= 0x80 for byte in data):
        return "bytes above 127 in header values (obs-text, RFC 9110, 5.5), of which h11 takes some, and in targets"
    return ""


def stricter(data: bytes) -> str:
    """Why ours may refuse a request that h11 takes, as far as the request itself does not tell."""
    if b"\n" in data.replace(b"\r\n", b""):
        return "lines that end with LF alone; h11 takes them (RFC 9112, 2.2 permits it)"
    if b"\r\n " in data or b"\r\n\t" in data:
        return "folded headers; h11 unfolds them (RFC 9112, 5.2 asks for one or the other)"
    if b"chunked" in data.lower():
        return "chunk sizes with blanks behind them, which h11 takes; codings beside chunked"
    if data.lower().count(b"content-length") > 1 or re.search(rb"(?i)content-length:[^\r\n]*,", data):
        return "repeated lengths that agree, which h11 merges (RFC 9112, 6.3 permits either)"
    if b"HTTP/2.0" in data:
        return "h11 takes any version and leaves it to its user"
    return ""


@settings(max_examples=300)
@given(message(), st.lists(st.integers(0, 300), max_size=8))
def test_packets_make_no_difference(data: bytes, cuts: list[int]) -> None:
    """However the bytes are cut, the same requests are seen."""
    whole, _ = ours(data, [])
    assert ours(data, cuts)[0] == whole


@settings(max_examples=1000)
@given(st.lists(message(), min_size=1, max_size=3), st.lists(st.integers(0, 300), max_size=4))
@example([b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"], [])
@example([b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"] * 3, [1000, 57, 114])
@example([b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\r\n\r\n"] * 3, [57, 59])
def test_known_heads_make_no_difference(parts: list[bytes], cuts: list[int]) -> None:
    """A connection that knows heads from others sees the same requests as one that parses everything."""
    heads = Heads()
    for data in (b"".join(parts), b"".join(reversed(parts)), b"".join(parts) * 2, b"".join(parts) * 3):
        parsed = ours(data, cuts)
        boundaries = list(itertools.accumulate(map(len, parts)))
        assert ours(data, cuts, heads) == parsed
        assert ours(data, boundaries, heads) == ours(data, boundaries)
        assert ours(data, cuts, heads) == parsed


PLAIN = [
    b"X-A: 1", b"x: y z", b"Accept: */*", b"User-Agent: a/1 (b; c)", b"Content-Length: 3", b"content-length: 0", b"Content-Length: 03",
    b"Connection: keep-alive", b"connection: Keep-Alive", b"TE: trailers", b"X-%: ~", b"Host: y:80", b"Content-Lengthy: x", b"Hos: t",
]  # fmt: skip


@st.composite
def nearly_plain(draw: st.DrawFn) -> bytes:
    """The head of a request that most clients could send, and perhaps one that is one byte away from it."""
    method = draw(st.sampled_from(METHODS))
    path = draw(st.one_of(target, st.text(alphabet="/a?%.:&=~+", max_size=8).map(lambda text: b"/" + text.encode())))
    lines = [b"%b %b HTTP/1.1" % (method, path), b"Host: x", *draw(st.lists(st.sampled_from(PLAIN), max_size=4))]
    lines += draw(st.lists(line, max_size=1))
    head = bytearray(b"\r\n".join(lines) + b"\r\n\r\n")
    if draw(st.booleans()):
        at = draw(st.integers(0, len(head) - 1))
        head[at : at + draw(st.integers(0, 1))] = draw(st.binary(max_size=1))
    return bytes(head)


def parsed(head: bytes) -> list[Request]:
    """What llhttp makes of it."""
    seen: list[Request] = []

    def accept(request: Request, responder: Responder) -> Collect:
        seen.append(request)
        return Collect(request, responder, [])

    connection = ServerConnection(accept, Limits(), TimerWheel(loop=ManualLoop()))  # type: ignore[arg-type]
    connection.connection_made(MemoryTransport())  # type: ignore[arg-type]  # what it uses of a transport
    connection.data_received(head)
    return seen


def everything(request: Request) -> tuple[object, ...]:
    return (
        request.method, request.target, request.version, request.headers, request.length, request.keep_alive, request.upgrade,
        request.expects_continue,
    )  # fmt: skip


@settings(max_examples=2000)
@given(nearly_plain())
@example(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nX: a\nb\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n")
def test_plain_heads_are_what_the_parser_makes_of_them(head: bytes) -> None:
    """A head that is read without the parser is one that the parser takes, and the same in every respect. Twice: then its lines are known."""
    heads = Heads()
    end = head.find(b"\r\n\r\n") + 4
    for _ in range(2):
        request = heads.read(head[:end]) if end >= 4 else None
        if request is not None:
            assert [everything(one) for one in parsed(head[:end])] == [everything(request)]


@pytest.mark.parametrize("line", PLAIN[:5] + PLAIN[7:10])
def test_most_heads_are_plain(line: bytes) -> None:
    """Else the property above would say nothing."""
    request = Heads().read(b"GET /function/f?a=b HTTP/1.1\r\nHost: x:80\r\n%b\r\n\r\n" % line)
    assert request is not None
    assert request.lines == [b"Host: x:80", line]


def test_limits_are_left_to_the_parser() -> None:
    """A head that is over one is not plain."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nX: y\r\nContent-Length: 10\r\n\r\n"
    assert Heads().read(head) is not None
    assert Heads(Limits(head=len(head) - 1)).read(head) is None
    assert Heads(Limits(lines=2)).read(head) is None
    assert Heads(Limits(body=9)).read(head) is None
    assert Heads().read(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 2048 + b"\r\n\r\n") is None


@settings(max_examples=500)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=3))
def test_noise(data: bytes, cuts: list[int]) -> None:
    """Never an exception."""
    ours(data, cuts)
