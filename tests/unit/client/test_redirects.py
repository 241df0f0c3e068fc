"""Where an answer sends its caller: what is sent there, what is kept back, what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hilbert.client import GatewayTimeout, RedirectRefused
from hilbert.client.codec import Head, Request
from hilbert.client.redirect import MOST, next_hop
from hilbert.client.url import Origin, parse_url
from support.cli import Call, Gateway, Reply
from support.clients import Either

GATEWAY = parse_url("https://gw.example.com/base")


def hop(
    location: str, *, status: int = 302, method: str = "POST", origin: Origin = GATEWAY, **fields: object
) -> tuple[str, Request] | None:
    request = Request(method=method, target="/function/f?a=b", **{"body": b"body", **fields})  # type: ignore[arg-type]
    found = next_hop(origin, request, Head(status, {"location": location} if location else {}))
    return None if found is None else (str(found.origin), found.request)


def echo(call: Call) -> Reply:
    text = f"{call.method} {call.path} {call.body.decode()} {call.headers.get('authorization', '-')}"
    return Reply(body=f"{text} {call.headers.get('x-key', '-')} {call.headers.get('content-type', '-')}".encode())


@pytest.fixture
def other() -> Iterator[Gateway]:
    """Another host's server: another port is another origin."""
    found = Gateway().start()
    found.add("g")
    found.bodies["g"] = echo
    yield found
    found.close()


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", b""),
        (302, "PUT", "GET", b""),
        (303, "DELETE", "GET", b""),
        (302, "HEAD", "HEAD", b""),
        (303, "GET", "GET", b""),
        (307, "POST", "POST", b"body"),
        (308, "PATCH", "PATCH", b"body"),
    ],
)
def test_method_and_body(status: int, method: str, then: str, body: bytes) -> None:
    """As Go's clients have it: 307 and 308 say it again, all others ask for the answer."""
    headers = (("Content-Type", "a/b"), ("X-A", "1"))
    found = hop("/x", status=status, method=method, headers=headers)
    assert found is not None
    origin, request = found
    assert (origin, request.method, request.target, request.body) == ("https://gw.example.com", then, "/x", body)
    assert request.headers == (headers if body else (("X-A", "1"),))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/x?y=z#fragment", "/x?y=z"),
        ("other", "/base/function/other"),
        ("?c=d", "/base/function/f?c=d"),
        ("../g", "/base/g"),
        ("//gw.example.com/x", "/x"),
        ("https://GW.example.com:443", "/"),
        ("/a b\xe4\\%20", "/a%20b%E4%5C%20"),
    ],
)
def test_locations(location: str, target: str) -> None:
    """Relative to the URL that was asked, and always one line of plain characters."""
    found = hop(location)
    assert found is not None
    assert found[0] == "https://gw.example.com"
    assert found[1].target == target


def test_not_followed() -> None:
    """No Location, another status, a body that is gone."""
    assert hop("") is None
    assert hop("/x", status=304) is None
    assert hop("/x", status=201) is None
    assert hop("/x", status=307, body=b"", pieces=iter([b"x"])) is None
    assert hop("/x", status=307, body=b"", pieces=[b"x"]) is not None
    assert hop("/x", status=303, body=b"", pieces=iter([b"x"])) is not None


@pytest.mark.parametrize("location", ["file:///etc/passwd", "javascript:x", "http://[::1", "https://h:99999/"])
def test_what_is_no_http_url(location: str) -> None:
    with pytest.raises(RedirectRefused, match="not an http URL"):
        hop(location)


@pytest.mark.parametrize(
    ("gateway", "location", "why"),
    [
        ("https://gw.example.com", "http://gw.example.com/x", "from https to http"),
        ("http://gw.example.com", "http://127.0.0.1:6379/", "services of this one"),
        ("http://gw.example.com", "http://localhost/", "services of this one"),
        ("http://gw.example.com", "http://[::1]/", "services of this one"),
    ],
)
def test_ways_that_are_not_taken(gateway: str, location: str, why: str) -> None:
    with pytest.raises(RedirectRefused, match=why):
        hop(location, origin=parse_url(gateway))


def test_another_origin_is_told_no_secret() -> None:
    """Neither Authorization nor what else may be a credential, nor a user and password from the Location."""
    headers = (("Authorization", "x"), ("Cookie", "x"), ("X-Api-Key", "x"), ("Content-Type", "a/b"), ("Accept", "c/d"))
    found = hop("https://u:p@other.example.com/x", status=307, headers=headers)
    assert found is not None
    assert found[0] == "https://other.example.com"
    assert found[1].headers == (("Content-Type", "a/b"), ("Accept", "c/d"))
    port = hop("https://gw.example.com:8443/x", status=307, headers=headers)
    assert port is not None
    assert ("Authorization", "x") not in port[1].headers


def test_followed_on_the_same_gateway(client: Either, gateway: Gateway) -> None:
    """With the caller's headers; the client's own credentials go to no function."""
    gateway.add("f")
    gateway.add("g")
    gateway.bodies["f"] = lambda _: Reply(307, b"gone", {"Location": "/function/g"})
    gateway.bodies["g"] = echo
    answer = client.do("invoke", "f", b"hi", headers=[("X-Key", "k")], follow_redirects=True)
    assert answer.text == "POST /function/g hi - k -"
    assert client.do("invoke", "f", b"hi").status == 307


def test_followed_elsewhere(client: Either, gateway: Gateway, other: Gateway) -> None:
    """Without what the caller said to the function."""
    gateway.add("f")
    gateway.bodies["f"] = lambda call: Reply(308, b"", {"Location": f"{other.url}/function/g"})
    headers = [("Authorization", "Bearer x"), ("X-Key", "k"), ("Content-Type", "a/b")]
    for _ in range(2):
        answer = client.do("invoke", "f", b"hi", headers=headers, follow_redirects=True)
        assert answer.text == "POST /function/g hi - - a/b"
    assert gateway.last("POST", "/function/f").headers["authorization"] == "Bearer x"


def test_streams(client: Either, gateway: Gateway) -> None:
    """A body that can be iterated again is sent again; one that cannot leaves the answer as it is."""
    gateway.add("f")
    gateway.add("g")
    gateway.bodies["f"] = lambda _: Reply(307, b"", {"Location": "/function/g"})
    gateway.bodies["g"] = echo
    assert client.stream("f", [b"a", b"b"], follow_redirects=True) == (200, b"POST /function/g ab - - -")
    assert client.stream("f", iter([b"a"]), follow_redirects=True)[0] == 307


def test_circles(client: Either, gateway: Gateway) -> None:
    gateway.add("f")
    gateway.bodies["f"] = lambda _: Reply(302, b"", {"Location": "/function/f"})
    with pytest.raises(RedirectRefused, match=f"more than {MOST} times"):
        client.do("invoke", "f", follow_redirects=True)
    assert len(gateway.calls) == MOST + 1


def test_the_time_is_for_all_of_it(client: Either, gateway: Gateway) -> None:
    """A function cannot hold its caller longer by redirects."""
    import threading

    gateway.add("f")
    gateway.add("slow")
    ended = threading.Event()
    gateway.bodies["f"] = lambda _: Reply(302, b"", {"Location": "/function/slow"})
    gateway.bodies["slow"] = lambda _: Reply(body=b"x") if ended.wait(20) else Reply(500)
    try:
        with pytest.raises(GatewayTimeout):
            client.do("invoke", "f", timeout=0.3, follow_redirects=True)
    finally:
        ended.set()
