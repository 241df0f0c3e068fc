"""How a call passes: names, paths, headers, methods, errors."""

from __future__ import annotations

import contextlib
import json
import re

import pytest

from support.dataplane import DELIVERY_SECRET, Call, Plane
from support.replicas import mirror

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def heard(body: bytes) -> dict[bytes, list[bytes]]:
    """The headers that `mirror` saw, by lower-case name."""
    found: dict[bytes, list[bytes]] = {}
    for line in body.partition(b"\n\n")[0].split(b"\n")[1:]:
        name, _, value = line.partition(b": ")
        found.setdefault(name.lower(), []).append(value)
    return found


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("", b"/"),
        ("/", b"/"),
        ("/a/b", b"/a/b"),
        ("?q=1", b"/?q=1"),
        ("/?q=1", b"/?q=1"),
        ("/a%2Fb/%2e%2e/c", b"/a%2Fb/%2e%2e/c"),
        ("/../../etc/passwd", b"/../../etc/passwd"),
        ("//a///b//", b"//a///b//"),
        ("/a+b?c+d=%20&e&&=f?/g", b"/a+b?c+d=%20&e&&=f?/g"),
        ("/?u=http://x/function/y", b"/?u=http://x/function/y"),
        ("?u=/function/y", b"/?u=/function/y"),
        ("/%00%ff", b"/%00%ff"),
    ],
)
def test_path_and_query_pass_byte_for_byte(plane: Plane, path: str, seen: bytes) -> None:
    """Only the prefix and the name are taken off."""
    name, _ = plane.function(mirror)
    answer = plane.call(f"/function/{name}{path}")
    assert answer.body.split(b"\n")[0] == b"GET " + seen + b" HTTP/1.1"


def test_namespaces_are_told_apart_by_the_last_dot(plane: Plane) -> None:
    """`NAME.NAMESPACE` reaches that namespace's function, a bare name the default namespace's."""
    for namespace in ("openfaas-fn", "dev", "staging-fn"):
        plane.put("who", plane.replica(lambda call, n=namespace: call.answer(n.encode())).endpoint, namespace=namespace)
    assert plane.call("/function/who").body == b"openfaas-fn"
    assert plane.call("/function/who.openfaas-fn").body == b"openfaas-fn"
    assert plane.call("/function/who.dev/x").body == b"dev"
    assert plane.call("/function/who.staging-fn?x").body == b"staging-fn"
    assert plane.call("/function/who.elsewhere").status == 404
    assert plane.call("/function/a.who.dev").status == 404
    assert plane.call("/function/.dev").status == 404
    assert plane.call("/function/who.").status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_pass(plane: Plane, method: str) -> None:
    """With and without a body."""
    name, replicas = plane.function(mirror)
    assert plane.call(f"/function/{name}", method=method).body.startswith(method.encode() + b" / ")
    assert plane.call(f"/function/{name}", b"x", method=method).body.endswith(b"\n\nx")
    assert [call.head.method for call in replicas[0].calls] == [method.encode()] * 2


def test_head_has_no_body_and_keeps_the_connection(plane: Plane) -> None:
    """The length is told, the bytes are not sent, and the next request works."""
    name, _ = plane.function(
        lambda call: call.wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if call.head.method == b"HEAD" else b"12345")
        )
    )
    with plane.connect() as wire:
        for _ in range(2):
            wire.send(f"HEAD /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = wire.response(to=b"HEAD")
            assert (answer.status, answer.get("Content-Length")) == (200, b"5")
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.response().body == b"12345"


def test_other_methods_are_refused(plane: Plane) -> None:
    """A known method that functions do not take gets 405; one that no parser knows gets 501."""
    name, replicas = plane.function()
    refused = plane.call(f"/function/{name}", method="PROPFIND")
    assert (refused.status, refused.get("Allow")) == (405, b"GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD")
    assert plane.call(f"/function/{name}", method="BREW").status == 501
    assert replicas[0].calls == []


def test_call_id_and_start_time_are_made_and_shown(plane: Plane) -> None:
    """The function and the caller see the same values."""
    name, _ = plane.function(mirror)
    answer = plane.call(f"/function/{name}")
    seen = heard(answer.body)
    assert UUID.fullmatch(answer.get("X-Call-Id"))
    assert seen[b"x-call-id"] == [answer.get("X-Call-Id")]
    assert len(answer.get("X-Start-Time")) == 19
    assert seen[b"x-start-time"] == [answer.get("X-Start-Time")]


def test_callers_own_call_id_is_kept(plane: Plane) -> None:
    """If it is one."""
    name, _ = plane.function(mirror)
    answer = plane.call(f"/function/{name}", headers="X-Call-Id: my-own.id")
    assert heard(answer.body)[b"x-call-id"] == [b"my-own.id"]
    assert answer.get("X-Call-Id") == b"my-own.id"


@pytest.mark.parametrize("spoof", ["x" * 129, "a b", "a/b<script>", 'a"b', "tab\there", "\u00e9", ""])
@pytest.mark.bound("call-id")
def test_call_id_that_is_none_is_replaced(plane: Plane, spoof: str) -> None:
    """Too long, blanks, characters that mean something elsewhere, not ASCII, empty: one rule here and in the REST API."""
    name, _ = plane.function(mirror)
    answer = plane.call(f"/function/{name}", headers=f"X-Call-Id: {spoof}")
    assert UUID.fullmatch(answer.get("X-Call-Id"))
    assert heard(answer.body)[b"x-call-id"] == [answer.get("X-Call-Id")]


def test_what_the_gateway_says_cannot_be_said_from_outside(plane: Plane) -> None:
    """Forwarding and internal headers of the client never reach the function."""
    name, _ = plane.function(mirror)
    spoofed = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Forwarded-Uri: /x"]
    spoofed += ["X-Start-Time: 1", "X-OpenFaaS-Internal: proxy", "X-Hilbert-Error: gone", "Forwarded: for=6.6.6.6"]
    with plane.connect() as wire:
        wire.send(
            f"GET /function/{name} HTTP/1.1\r\nHost: real.host:8080\r\n".encode()
            + "\r\n".join([*spoofed, "", ""]).encode()
        )
        answer = wire.response()
        port = wire.sock.getsockname()[1]
    seen = heard(answer.body)
    assert seen[b"x-forwarded-for"] == [f"127.0.0.1:{port}".encode()]
    assert seen[b"x-forwarded-host"] == [b"real.host:8080"]
    assert seen[b"x-start-time"] != [b"1"]
    for name_ in (b"x-forwarded-proto", b"x-forwarded-uri", b"x-openfaas-internal", b"x-hilbert-error", b"forwarded"):
        assert name_ not in seen


def test_hop_by_hop_headers_stay_on_their_hop(plane: Plane) -> None:
    """Both ways, with those that `Connection` names."""
    name, _ = plane.function(
        lambda call: call.answer(
            b"\n".join(key + b": " + value for key, value in call.head.headers),
            headers="Connection: X-Mine\nX-Mine: 1\nKeep-Alive: timeout=3\nX-Kept: yes\nProxy-Authenticate: Basic",
        )
    )
    hop = (
        "Connection: keep-alive, X-Secret\nX-Secret: 1\nKeep-Alive: 5\nTE: trailers\nTrailer: X\nProxy-Connection: x\n"
    )
    answer = plane.call(
        f"/function/{name}", headers=hop + "Proxy-Authorization: b\nAuthorization: Bearer t\nX-Two: 1\nX-Two: 2"
    )
    assert re.search(rb"(?i)x-secret|keep-alive|^te:|trailer|proxy-", answer.body) is None
    assert b"Authorization: Bearer t" in answer.body
    assert b"X-Two: 1\nX-Two: 2" in answer.body
    assert answer.get("X-Kept") == b"yes"
    assert not answer.get("X-Mine")
    assert not answer.get("Proxy-Authenticate")


def test_responses_headers_pass_in_order_and_number(plane: Plane) -> None:
    """Cookies come one by one; a redirect is the caller's to follow."""
    name, _ = plane.function(
        lambda call: call.answer(status=302, headers="Set-Cookie: a=1\nLocation: /x\nSet-Cookie: b=2")
    )
    answer = plane.call(f"/function/{name}")
    assert answer.status == 302
    assert answer.all("Set-Cookie") == [b"a=1", b"b=2"]
    assert answer.get("Location") == b"/x"


def test_content_type_is_given_when_the_function_gives_none(plane: Plane) -> None:
    """The request's, else plain text."""
    name, _ = plane.function(mirror)
    assert plane.call(f"/function/{name}").get("Content-Type") == b"text/plain"
    assert (
        plane.call(f"/function/{name}", b"{}", headers="Content-Type: application/json").get("Content-Type")
        == b"application/json"
    )


def test_unknown_function(plane: Plane) -> None:
    """404 with OpenFaaS's words and the function's full name."""
    answer = plane.call("/function/nobody")
    assert answer.status == 404
    assert answer.body.startswith(
        b"error finding function nobody.openfaas-fn: server returned non-200 status code (404)"
    )
    assert plane.call("/function/").status == 400
    assert plane.call("/function/").body == b"Provide function name in the request path"


def test_gateways_own_errors_say_so(plane: Plane) -> None:
    """JSON for who accepts JSON, with who, why and the call id; a header that functions cannot forge."""
    answer = plane.call("/function/nobody", headers="Accept: application/json\nX-Call-Id: c1")
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["component"], error["call_id"]) == ("function-not-found", "client", "c1")
    assert answer.get("X-Hilbert-Error") == b"function-not-found"
    assert answer.get("X-OpenFaaS-Internal") == b"gateway"
    assert answer.get("X-Call-Id") == b"c1"
    name, _ = plane.function(
        lambda call: call.answer(b"mine", status=500, headers="X-Hilbert-Error: function-not-found")
    )
    own = plane.call(f"/function/{name}")
    assert (own.status, own.body, own.all("X-Hilbert-Error")) == (500, b"mine", [])


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(plane: Plane, status: int) -> None:
    """No body, no chunks, and the connection goes on."""
    name, _ = plane.function(lambda call: call.wire.send(f"HTTP/1.1 {status} Any\r\nETag: x\r\n\r\n".encode()))
    with plane.connect() as wire:
        for _ in range(2):
            wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = wire.response()
            assert (answer.status, answer.get("ETag"), answer.get("Transfer-Encoding")) == (status, b"x", b"")


def test_tcp_replicas(plane: Plane) -> None:
    """As on Kubernetes; Host is then the replica's address."""
    name, replicas = plane.function(mirror, tcp=True)
    assert heard(plane.call(f"/function/{name}").body)[b"host"] == [replicas[0].address[4:].encode()]


def test_everything_else_goes_to_the_control_plane(plane: Plane) -> None:
    """With where it came from; bytes as they are; and 503 that says why while nobody is there."""
    away = plane.call("/system/functions")
    assert (away.status, away.get("X-Hilbert-Error")) == (503, b"control-plane-unavailable")
    control = plane.start_control(mirror)
    for path in ("/", "/system/functions?namespace=a%2Fb", "/async-function/x", "/functions", "/function", "/ui/"):
        answer = plane.call(path, b"{}", headers="X-Forwarded-For: 6.6.6.6\nAuthorization: Basic eA==")
        assert answer.body.startswith(b"POST " + path.encode() + b" HTTP/1.1\n")
        seen = heard(answer.body)
        assert seen[b"authorization"] == [b"Basic eA=="]
        assert seen[b"x-forwarded-for"] != [b"6.6.6.6"]
        assert seen[b"host"] == [b"gateway.test"]
    control.stop()
    assert plane.call("/healthz").status == 503


def test_answer_of_the_control_plane_streams(plane: Plane) -> None:
    """Logs are followed line by line."""

    def logs(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n")
        call.wire.until(b"go on")  # Nothing that HTTP knows: this replica and this test are in league.

    plane.start_control(logs)
    with plane.connect() as wire:
        wire.send(b"GET /system/logs?name=x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.head().status == 200
        assert wire.chunk() == b"a\n"


@pytest.mark.bound("api-body")
def test_bodies_for_the_control_plane_have_a_limit_of_their_own(plane: Plane) -> None:
    """By length at once, by chunks once they exceed it."""
    control = plane.start_control(lambda call: call.answer(call.body()[:2]))
    too_long = 4 * 1024 * 1024 + 1
    with plane.connect() as wire:
        wire.send(b"POST /system/functions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % too_long)
        answer = wire.response()
        assert (answer.status, answer.get("X-Hilbert-Error")) == (413, b"body-too-large")
        assert b"gateway.max_api_body" in answer.body
    with plane.connect() as wire:
        wire.send(b"POST /system/functions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(5):
                wire.send(b"100000\r\n" + bytes(0x100000) + b"\r\n")
        assert wire.response().status == 413
    assert plane.call("/system/functions", b"ok").body == b"ok"
    control.stop()


def test_only_the_gateway_itself_says_for_whom_a_queued_call_is(plane: Plane) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def note(call: Call) -> None:
        seen.append((call.head.get("X-Forwarded-For"), call.head.get("X-Hilbert-Delivery")))
        call.answer(b"")

    plane.put("f", plane.replica(note).endpoint)
    with plane.connect() as wire:
        for value in (f"{DELIVERY_SECRET} 192.0.2.7:99", "guess 192.0.2.8:99", f"{DELIVERY_SECRET} ", "guess"):
            wire.send(f"GET /function/f HTTP/1.1\r\nHost: x\r\nX-Hilbert-Delivery: {value}\r\n\r\n".encode())
            assert wire.response().status == 200
    addresses = [address for address, _ in seen]
    assert addresses[0] == b"192.0.2.7:99"
    assert addresses[2].startswith(b"127.0.0.1:")
    assert not any(address.startswith(b"192.0.2.8") for address in addresses)
    assert not any(delivered for _, delivered in seen)
