"""Which answers of functions pass to a browser, and how."""

from __future__ import annotations

import pytest

from hilbert.dataplane.headers import Incoming, from_function, incoming, outgoing, to_browser
from hilbert.dataplane.origin import ACTS_ON_ORIGIN, asks_for_password, tenant_of
from hilbert.kit.http1 import Request, Response

SANDBOX = b"Content-Security-Policy: sandbox "


def browser(segment: str = "f", host: bytes = b"x") -> Incoming:
    request = Request()
    request.method, request.target = b"GET", f"/function/{segment}".encode()
    request.headers = [(b"Host", host), (b"User-Agent", b"Mozilla/5.0")]
    return incoming(request)


def response(*headers: tuple[bytes, bytes]) -> Response:
    made = Response()
    made.headers = list(headers)
    return made


@pytest.mark.parametrize("name", sorted(ACTS_ON_ORIGIN))
def test_what_acts_on_the_whole_origin_never_passes(name: bytes) -> None:
    for spelling in (name, name.title(), name.upper()):
        made = response((spelling, b"x"), (b"X-Own", b"1"))
        assert from_function(made)[0] == b"X-Own: 1\r\n"
        assert to_browser(response((spelling, b"x")), browser())[0].startswith(SANDBOX)


def test_the_gateways_own_answers_keep_theirs() -> None:
    made = response((b"WWW-Authenticate", b'Basic realm="Restricted"'), (b"Strict-Transport-Security", b"max-age=1"))
    assert (
        outgoing(made)[0] == b'WWW-Authenticate: Basic realm="Restricted"\r\nStrict-Transport-Security: max-age=1\r\n'
    )


@pytest.mark.parametrize(
    ("value", "asks"),
    [
        (b'Basic realm="Restricted"', True),
        (b"basic realm=Restricted", True),
        (b'Basic realm="RESTRICTED", charset="UTF-8"', True),
        (b'Basic realm="Re\\stricted"', True),
        (b'Bearer, Digest realm="Restricted"', True),
        (b'Basic realm="my app"', False),
        (b'Bearer realm="IAM function invoke"', False),
    ],
)
def test_no_function_asks_for_the_gateways_password(value: bytes, asks: bool) -> None:
    assert asks_for_password(value) is asks
    made = response((b"www-Authenticate", value))
    assert from_function(made)[0] == (b"" if asks else b"www-Authenticate: " + value + b"\r\n")


@pytest.mark.parametrize(
    ("cookie", "passed"),
    [
        (b"a=1", b"a=1; Path=/function/f.dev"),
        (b"a=1; Path=/", b"a=1; Path=/function/f.dev"),
        (b"a=1;path = /ui ; HttpOnly;Domain=example.com; Secure", b"a=1; HttpOnly; Secure; Path=/function/f.dev"),
        (b"a=1; Path=/x; PATH=/; SameSite=Lax", b"a=1; SameSite=Lax; Path=/function/f.dev"),
    ],
)
def test_a_browser_gives_a_cookie_to_its_function_alone(cookie: bytes, passed: bytes) -> None:
    made = response((b"Set-Cookie", cookie))
    assert to_browser(made, browser("f.dev"))[0].startswith(b"Set-Cookie: " + passed + b"\r\n")
    assert from_function(response((b"Set-Cookie", cookie)))[0] == b"Set-Cookie: " + cookie + b"\r\n"


@pytest.mark.parametrize("kind", [b"text/html", b"image/svg+xml", b"application/json", b"application/pdfx", b""])
def test_every_page_gets_an_origin_of_nobody(kind: bytes) -> None:
    made = response((b"Content-Type", kind), (b"Content-Security-Policy", b"default-src *"))
    lines, typed, _ = to_browser(made, browser())
    assert b"Content-Security-Policy: default-src *\r\n" in lines
    assert b"\r\n" + SANDBOX in lines
    assert b"allow-same-origin" not in lines
    assert typed
    assert SANDBOX not in from_function(response((b"Content-Type", kind)))[0]


def test_a_pdf_keeps_the_browsers_viewer() -> None:
    assert SANDBOX not in to_browser(response((b"content-type", b"Application/PDF; x=y")), browser())[0]
    assert (
        SANDBOX
        in to_browser(response((b"content-type", b"application/pdf"), (b"content-type", b"text/html")), browser())[0]
    )


@pytest.mark.parametrize(
    ("header", "browser"),
    [
        ((b"Sec-Fetch-Mode", b"navigate"), True),
        ((b"Origin", b"null"), True),
        ((b"User-Agent", b"Mozilla/5.0 x"), True),
        ((b"Accept", b"text/html,*/*"), True),
        ((b"Upgrade-Insecure-Requests", b"1"), True),
        ((b"User-Agent", b"curl/8"), False),
        ((b"Accept", b"*/*"), False),
        ((b"Cookie", b"a=1"), False),
    ],
)
def test_who_is_a_browser(header: tuple[bytes, bytes], browser: bool) -> None:
    for others in ([], [(b"Accept", b"*/*"), (b"User-Agent", b"x")]):
        request = Request()
        request.method, request.target = b"GET", b"/function/f"
        request.headers = [(b"Host", b"x"), header, *others]
        assert incoming(request).browser is browser


def test_a_namespaces_own_name_needs_no_sandbox() -> None:
    asked = browser()
    asked.own = True
    lines = to_browser(response((b"Content-Type", b"text/html"), (b"Set-Cookie", b"a=1; Domain=localhost")), asked)[0]
    assert lines == b"Content-Type: text/html\r\nSet-Cookie: a=1; Path=/function/f\r\n"


@pytest.mark.parametrize(
    ("host", "tenant"),
    [
        (b"dev.localhost", b"dev"),
        (b"DEV.localhost.:8080", b"dev"),
        (b"localhost:8080", None),
        (b".localhost", None),
        (b"a.dev.localhost", None),
        (b"dev.localhost.example", None),
        (b"127.0.0.1", None),
        (b"[::1]:8080", None),
        (b"", None),
    ],
)
def test_a_namespaces_own_name(host: bytes, tenant: bytes | None) -> None:
    assert tenant_of(host, b"localhost") == tenant
    assert tenant_of(host, b"") is None
