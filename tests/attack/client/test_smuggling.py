"""A hostile client writes requests that two readers would read in two ways: one request at the most is seen, or none.

Each case names the CVE of a comparable system that took such bytes, where there is one. The connection may carry a second request,
which is meant for the function of somebody else; it must be refused with the first, or be a request of its own that is answered.
"""

from __future__ import annotations

import pytest

from attack.victim import Victim
from support.dataplane import Plane
from support.replicas import mirror

INNER = b"GET /function/%b HTTP/1.1\r\nHost: x\r\nX-Token: stolen\r\n\r\n"

CASES = {
    # CVE-2019-20445 (Netty), CVE-2020-11076 (Puma), CVE-2022-24761 (Waitress): CL.TE and TE.CL.
    "CL.TE": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    # CVE-2019-18277 (HAProxy), CVE-2022-32213 and CVE-2022-32215 (llhttp), CVE-2024-1135 (Gunicorn), CVE-2022-1705 (Go).
    "TE with a vertical tab": b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "TE that is quoted": b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "TE with a suffix": b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "TE as a list": b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "TE as a list that ends otherwise": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "TE twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "empty TE": b"Transfer-Encoding:\r\nContent-Length: 0\r\n\r\n",
    "TE on two lines": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    # CVE-2021-22959 (llhttp), CVE-2019-16869 and CVE-2020-7238 (Netty), CVE-2024-27982 (Node.js): spaces before or behind a name.
    "space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "space before the name": b"X: 1\r\n Content-Length: 5\r\n\r\n",
    "first line that folds": b" Content-Length: 5\r\n\r\nabcde",
    # CVE-2021-40346 (HAProxy): a name of 270 bytes hid a length.
    "long name": b"Content-Length0" + b"a" * 255 + b":\r\nContent-Length: 0\r\n Content-Length: 5\r\n\r\nabcde",
    # CVE-2023-25725 (HAProxy).
    "empty name": b": x\r\nContent-Length: 5\r\n\r\nabcde",
    # CVE-2019-20445 (Netty): lengths that differ, or are none.
    "two lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
    "length as a list": b"Content-Length: 0, 5\r\n\r\nabcde",
    "signed length": b"Content-Length: +5\r\n\r\nabcde",
    "length with a fraction": b"Content-Length: 5.0\r\n\r\nabcde",
    "length with an underscore": b"Content-Length: 1_0\r\n\r\nabcde",
    "octal length": b"Content-Length: 0o5\r\n\r\nabcde",
    "length in other digits": b"Content-Length: \xd9\xa5\r\n\r\nabcde",
    "length that overflows": b"Content-Length: 18446744073709551621\r\n\r\nabcde",
    # CVE-2023-30589 (llhttp), CVE-2022-35256 (llhttp), CVE-2022-32214 (llhttp).
    "CR for a line end": b"X: a\rContent-Length: 5\r\n\r\nabcde",
    "CR and CR": b"X: a\r\rContent-Length: 5\r\n\r\nabcde",
    "LF for a line end": b"X: a\nContent-Length: 5\r\n\r\nabcde",
    "head that ends with LF": b"Content-Length: 5\n\nabcde",
    "CR before the end": b"X: a\r\n\rContent-Length: 5\r\n\r\nabcde",
    "NUL in a name": b"Content\x00-Length: 5\r\n\r\nabcde",
    "NUL in a value": b"Content-Length: 5\x00\r\n\r\nabcde",
    # CVE-2025-43859 (h11), CVE-2025-22871 (Go), CVE-2025-55315 (Kestrel), CVE-2024-53868 (Traffic Server).
    "chunk without its end": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n",
    "LF behind a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "LF in a chunk extension": b"Transfer-Encoding: chunked\r\n\r\n3;\nx\r\nabc\r\n0\r\n\r\n",
    "CR in a chunk extension": b"Transfer-Encoding: chunked\r\n\r\n3;\rx\r\nabc\r\n0\r\n\r\n",
    "signed chunk": b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "hexadecimal mark": b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk with an underscore": b"Transfer-Encoding: chunked\r\n\r\n0_3\r\nabc\r\n0\r\n\r\n",
    "chunk that overflows": b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "blank behind a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "last chunk without its end": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
    # The same kinds in other spellings.
    "TE that is no coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE chunked and chunked": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "TE chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE with an empty element": b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "TE behind a no-break space": b"Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n",
    "TE with a letter that looks alike": "Transfer-Encoding: chun\N{KELVIN SIGN}ed\r\n\r\n0\r\n\r\n".encode(),
    "TE with a form feed": b"Transfer-Encoding: chunked\x0c\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nabcde",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "empty length": b"Content-Length:\r\n\r\n",
    "negative nothing": b"Content-Length: -0\r\n\r\n",
    "hexadecimal length": b"Content-Length: 0x5\r\n\r\nabcde",
    "length with a parameter": b"Content-Length: 5;\r\n\r\nabcde",
    "length and length": b"Content-Length: 5, 5\r\n\r\nabcde",
    "one length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "length behind a vertical tab": b"Content-Length: \x0b5\r\n\r\nabcde",
    "length on a second line": b"Content-Length:\r\n 5\r\n\r\nabcde",
    "quoted length": b'Content-Length: "5"\r\n\r\nabcde',
    "length in wide digits": "Content-Length: \N{FULLWIDTH DIGIT FIVE}\r\n\r\nabcde".encode(),
    "line without a colon": b"Content-Length 5\r\n\r\nabcde",
    "line that folds with a tab": b"X: a\r\n\tContent-Length: 5\r\n\r\nabcde",
    "name that is no token": b"Content(Length: 5\r\n\r\n",
    "control character in a value": b"X: a\x01b\r\n\r\n",
    "chunk without a size": b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    "blank before a chunk size": b"Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
    "tab behind a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3\t\r\nabc\r\n0\r\n\r\n",
    "LF behind a chunk": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "LF behind the last chunk": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\n\n",
    "line end in a quoted extension": b'Transfer-Encoding: chunked\r\n\r\n3;a="\r\nabc\r\n0\r\n\r\n',
    "NUL in an extension": b"Transfer-Encoding: chunked\r\n\r\n3;\x00\r\nabc\r\n0\r\n\r\n",
    "trailer that folds": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n",
    "trailer without a colon": b"Transfer-Encoding: chunked\r\n\r\n0\r\nfoo\r\n\r\n",
    "LF behind a trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\r\n",
    "CR in a trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\rb\r\n\r\n",
    "two hosts": b"Host: y\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip

STARTS = {
    "tab between": (b"GET\t/function/%b HTTP/1.1", {400, 501}),
    "blank at the end": (b"GET /function/%b HTTP/1.1 ", {400}),
    "later version": (b"GET /function/%b HTTP/1.2", {400, 505}),
    "version in two digits": (b"GET /function/%b HTTP/1.10", {400}),
    "version with zeros": (b"GET /function/%b HTTP/01.1", {400}),
    "version in small letters": (b"GET /function/%b http/1.1", {400}),
    "HTTP/2": (b"GET /function/%b HTTP/2.0", {505}),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0", {400, 505}),
    "HTTP/0.9": (b"GET /function/%b", {400, 505}),
    "another protocol": (b"SETUP /function/%b RTSP/1.0", {400, 405, 505}),
    "NUL in the method": (b"G\x00T /function/%b HTTP/1.1", {400, 501}),
    "method in small letters": (b"get /function/%b HTTP/1.1", {400, 501}),
    "CONNECT": (b"CONNECT /function/%b HTTP/1.1", {400, 405}),
    "CONNECT to a host": (b"CONNECT x:80 HTTP/1.1", {400}),
    "form feed in the target": (b"GET /function/%b\x0c HTTP/1.1", {400}),
    "target without a slash": (b"GET function/%b HTTP/1.1", {400}),
    "URL without a host": (b"GET http:///function/%b HTTP/1.1", {400}),
    "URL with a user": (b"GET http://u:p@h/function/%b HTTP/1.1", {400}),
    "blank before the method": (b" GET /function/%b HTTP/1.1", {400, 501}),
}
"""First lines that are none, and the statuses that say so."""

HOSTS = [
    b"a b", b"a/b", b"a@b", b"user:pw@b", b"a:b", b"a:99999", b"a:-1", b"a:80:80", b"[::1", b"::1", b"[x]", b"[::1]x", b"a?b", b"a#b",
    b"a\\b", b"<b>", b"a\tb", b"a,b c", b"http://a", b"\xc3\xa9", b":80", b'"a"', b"a|b", b"a^b", b"`a`", b"{a}", b"x" * 600,
    b"[:]", b"[::1::2]", b"[1:2:3:4:5:6:7:8:9]", b"[::1.2.3]", b"[.:.]", b"[::1%25eth0]", b"[v1.a]", b"a%", b"a%zz", b"%4", b"a%\xc3",
]  # fmt: skip


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES)
def test_requests_that_can_be_read_twice_are_refused(plane: Plane, lines: bytes) -> None:
    """400, 501 for unknown codings; the connection closes, and neither function is called."""
    name, (replica,) = plane.function()
    victim_name, (victim_replica,) = plane.function()
    with plane.connect() as wire:
        wire.send(b"POST /function/%b HTTP/1.1\r\nHost: x\r\n" % name.encode() + lines + INNER % victim_name.encode())
        answer = wire.response()
        assert answer.status in (400, 501), answer
        assert answer.get("Connection") == b"close"
        assert wire.at_end
    assert not [call for call in replica.calls if call.head.body]
    assert not victim_replica.calls


@pytest.mark.parametrize("kind", STARTS)
def test_first_lines_that_are_none(plane: Plane, kind: str) -> None:
    line, statuses = STARTS[kind]
    name, (replica,) = plane.function()
    victim_name, (victim_replica,) = plane.function()
    with plane.connect() as wire:
        wire.send(line.replace(b"%b", name.encode()) + b"\r\nHost: x\r\n\r\n" + INNER % victim_name.encode())
        assert wire.response().status in statuses
        assert wire.at_end
    assert not replica.calls
    assert not victim_replica.calls


@pytest.mark.parametrize(
    "line", [b"GET  /function/%b HTTP/1.1", b"GET /function/%b  HTTP/1.1", b"\r\n\nGET /function/%b HTTP/1.1"]
)
def test_blanks_around_a_first_line_are_not_passed_on(plane: Plane, line: bytes) -> None:
    """RFC 9112 (2.2 and 3) lets a server overlook them; the function gets the line as it should be."""
    name, (replica,) = plane.function()
    with plane.connect() as wire:
        wire.send(line.replace(b"%b", name.encode()) + b"\r\nHost: x\r\n\r\n")
        assert wire.response().status == 200
    assert [call.head.start for call in replica.calls] == [b"GET / HTTP/1.1"]


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_a_host_that_is_none(plane: Plane, host: bytes) -> None:
    """400: caches, links and virtual hosts are made of it (also behind other proxies)."""
    name, (replica,) = plane.function()
    with plane.connect() as wire:
        wire.send(b"GET /function/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name.encode(), host))
        assert wire.response().status == 400
        assert wire.at_end
    assert not replica.calls


@pytest.mark.parametrize(
    "host",
    [b"a", b"a.b-c:80", b"127.0.0.1:8080", b"[::1]", b"[2001:db8::1]:65535", b"x_y", b"a%20b", b"", b"a:"],
    ids=repr,
)
def test_a_host_that_is_one(plane: Plane, host: bytes) -> None:
    name, _ = plane.function(mirror)
    with plane.connect() as wire:
        wire.send(b"GET /function/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name.encode(), host))
        answer = wire.response()
    assert answer.status == 200
    assert b"\nX-Forwarded-Host: %b\n" % host in answer.body


def test_an_upgrade_with_a_body(plane: Plane) -> None:
    """The body does not become the first bytes of another request to the function (h2c smuggling and its like)."""
    name, (replica,) = plane.function()
    inner = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /function/%b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n"
    with plane.connect() as wire:
        wire.send(head % (name.encode(), len(inner)) + inner)
        assert wire.response().body == inner
    assert [call.head.target for call in replica.calls] == [b"/"]
    assert not replica.calls[0].head.get("Upgrade")


def test_bytes_behind_a_request_that_closes(plane: Plane) -> None:
    """They are nobody's request."""
    name, _ = plane.function()
    other, (replica,) = plane.function()
    with plane.connect() as wire:
        wire.send(
            b"GET /function/%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % name.encode()
            + INNER % other.encode()
        )
        assert wire.response().status == 200
        assert wire.at_end
    assert not replica.calls


@pytest.mark.parametrize(
    "named",
    ["X-Forwarded-For", "X-Forwarded-Host", "X-Call-Id", "X-Start-Time", "Host", "Content-Length", "Transfer-Encoding"],
)
def test_connection_cannot_name_the_gateways_own_headers(plane: Plane, named: str) -> None:
    """CVE-2021-33197 (Go), CVE-2022-31813 (Apache): a client had a proxy drop what the proxy adds."""
    name, _ = plane.function(mirror)
    with plane.connect() as wire:
        wire.send(
            f"POST /function/{name} HTTP/1.1\r\nHost: real\r\nConnection: close, {named}\r\nContent-Length: 2\r\n\r\nab".encode()
        )
        answer = wire.response()
    head, _, body = answer.body.partition(b"\n\n")
    assert body == b"ab"
    lines = {line.partition(b": ")[0].lower() for line in head.split(b"\n")[1:]}
    assert {b"x-forwarded-for", b"x-forwarded-host", b"x-call-id", b"x-start-time", b"host", b"content-length"} <= lines


def test_trailers_say_nothing_that_is_checked_in_a_head(plane: Plane) -> None:
    """A server that merges them into the head would believe that the gateway has said it (RFC 9110, section 6.5.1)."""
    name, (replica,) = plane.function()
    forged = (
        "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded", "X-Call-Id", "X-Start-Time", "Host",
        "X-Hilbert-Delivery", "Authorization", "Cookie", "Content-Type", "Content-Encoding", "Range", "Expect", "TE",
        "Connection", "Trailer", "If-None-Match", "Cache-Control", "Proxy-Authorization",
    )  # fmt: skip
    lines = "".join(f"{field}: forged\r\n" for field in forged)
    head = f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with plane.connect() as wire:
        wire.send(f"{head}3\r\nabc\r\n0\r\nX-Sum: 7\r\n{lines}\r\n".encode())
        assert wire.response().status == 200
    assert replica.calls[0].head.trailers == [(b"X-Sum", b"7")]


@pytest.mark.parametrize(
    "value", [b"a\r\nX-Injected: 1", b"a\nX-Injected: 1", b"a\rX-Injected: 1", b"a\x00X-Injected: 1"]
)
def test_targets_do_not_split_requests(plane: Plane, value: bytes) -> None:
    """CVE-2023-25690 (Apache): what a target holds became lines of the request to the upstream."""
    name, (replica,) = plane.function()
    with plane.connect() as wire:
        wire.send(b"GET /function/%b?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (name.encode(), value))
        assert wire.response().status in (400, 505)
    assert not [call for call in replica.calls if call.head.get("X-Injected")]


@pytest.mark.parametrize(
    "target",
    ["café?name=José".encode(), b"\x80\xff/\xfe?\xc3", "日本".encode(), b"%zz", b"a?b?c", b"a%00b", b"//a/../b"],
    ids=repr,
)
@pytest.mark.parametrize("cut", [0, 25, 29], ids=["whole", "cut in the target", "cut later"])
def test_targets_pass_byte_for_byte(plane: Plane, target: bytes, cut: int) -> None:
    """Bytes above 127 too, as browsers of old and `curl` send them, alone and one behind another, in one packet or in two."""
    name, (replica,) = plane.function()
    victim = Victim(plane)
    request = b"POST /function/%b/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\xffbc" % (name.encode(), target)
    with plane.connect() as wire:
        if cut:
            wire.send(request[:cut])
            victim.call_on_another()
            wire.send(request[cut:])
            assert wire.response().body == b"\xffbc"
        wire.send(request * 3)
        for _ in range(3):
            assert wire.response().body == b"\xffbc"
        victim.call(wire)
    assert {call.head.target for call in replica.calls} == {b"/" + target}
    assert not victim.wrong, victim.wrong


@pytest.mark.parametrize("start", ["http://other.example:81", "HTTP://other.example:81", "https://other.example:81"])
def test_targets_in_absolute_form(plane: Plane, start: str) -> None:
    """RFC 9112, 3.2.2: the target's host wins over the Host header."""
    name, (replica,) = plane.function(mirror)
    with plane.connect() as wire:
        wire.send(f"GET {start}/function/{name}/p?q HTTP/1.1\r\nHost: this.example\r\n\r\n".encode())
        answer = wire.response()
    assert answer.status == 200
    assert replica.calls[0].head.target == b"/p?q"
    assert b"\nX-Forwarded-Host: other.example:81\n" in answer.body
