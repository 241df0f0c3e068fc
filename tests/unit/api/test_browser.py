"""Hosts, origins and bodies of a browser's requests; other clients meet no rule."""

from __future__ import annotations

import pytest

from hilbert.api.browser import check_body, check_host, check_origin, is_browser, name_of
from hilbert.api.problems import Refusal

HOST = {"host": "gw.example:8080"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"user-agent": "faas-cli/0.18.0"},
        {"user-agent": "openfaas-go-sdk"},
        {"user-agent": "python-requests/2.32", "accept": "*/*"},
        {"user-agent": "curl/8.5.0", "accept": "*/*"},
        {"accept": "application/json"},
    ],
)
def test_other_clients_go_on_unchanged(headers: dict[str, str]) -> None:
    assert not is_browser(headers)
    for method in ("GET", "POST", "PUT", "DELETE"):
        for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/json"):
            check_origin(method, {**HOST, **headers, "content-type": kind})
            check_body(method, {**HOST, **headers, "content-type": kind, "content-length": "9"})


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-dest": "document"},
        {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"},
        {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    ],
)
def test_browsers_are_known_by_any_sign(headers: dict[str, str]) -> None:
    assert is_browser(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://gw.example:8080"},
        {"origin": "http://GW.example:8080"},
        {"origin": "http://gw.example:8080", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"referer": "http://gw.example:8080/ui/"},
        {"host": "gw.example", "origin": "http://gw.example"},
        {"host": "gw.example:443", "origin": "https://gw.example"},
        {"host": "10.0.0.9:8080", "x-forwarded-host": "gw.example", "origin": "https://gw.example"},
        {"host": "[::1]:8080", "origin": "http://[::1]:8080"},
    ],
)
def test_writes_of_the_gateways_own_pages(headers: dict[str, str]) -> None:
    check_origin("POST", {**HOST, **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://evil.example"},
        {"origin": "http://gw.example"},
        {"origin": "http://gw.example:8081"},
        {"origin": "http://gw.example:8080.evil.example"},
        {"origin": "http://gw.example:8080@evil.example"},
        {"origin": "http://evil.example/http://gw.example:8080"},
        {"origin": "file://"},
        {"origin": "chrome-extension://gw.example:8080"},
        {"origin": "http://gw.example:99999"},
        {"origin": "http://[gw.example:8080"},
        {"referer": "http://evil.example/"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "cross-site", "origin": "http://gw.example:8080"},
    ],
)
def test_writes_of_other_pages(headers: dict[str, str]) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        with pytest.raises(Refusal) as refused:
            check_origin(method, {**HOST, **headers})
        assert refused.value.status == 403


def test_reads_of_other_pages_are_refused_but_links_work() -> None:
    check_origin("GET", {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    for headers in (
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"origin": "null"},
    ):
        with pytest.raises(Refusal):
            check_origin("GET", {**HOST, **headers})


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"])
def test_a_browsers_write_must_be_json(kind: str) -> None:
    headers = {**HOST, "origin": "http://gw.example:8080", "content-type": kind}
    for length in ({"content-length": "2"}, {"transfer-encoding": "chunked"}):
        with pytest.raises(Refusal) as refused:
            check_body("POST", {**headers, **length})
        assert refused.value.status == 415
    check_body("GET", headers)
    check_body("DELETE", {**headers, "content-length": "0"})
    check_body("POST", {**headers, "content-type": "Application/JSON; charset=utf-8", "content-length": "2"})


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "a:b", "a:999999", "[::1", "::1", "a,b", "é"])
def test_what_is_no_host(host: str) -> None:
    for known in (None, frozenset({host})):
        with pytest.raises(Refusal) as refused:
            check_host({"host": host}, known=known)
        assert refused.value.status == 400


KNOWN = frozenset({"gw.example", ".openfaas"})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "[::1]:8080", "10.1.2.3", "localhost:1", "gateway", "gateway.openfaas:8080", "x.svc.cluster.local",
     "GW.example:80", "gw.example.", "dev.localhost", ""],
)  # fmt: skip
def test_hosts_that_nobody_else_can_have(host: str) -> None:
    check_host({"host": host}, known=KNOWN)


@pytest.mark.parametrize("host", ["evil.example", "gw.example.evil.example", "127.0.0.1.evil.example", "a.gw.example", "xopenfaas.example"])  # fmt: skip
def test_hosts_that_a_stranger_could_point_here(host: str) -> None:
    check_host({"host": host}, known=None)
    with pytest.raises(Refusal) as refused:
        check_host({"host": f"{host}:8080"}, known=KNOWN)
    assert refused.value.status == 421


def test_the_name_in_an_authority() -> None:
    assert [name_of(text) for text in ("A.b.:80", "[::1]:8", "x", "a b")] == ["a.b", "::1", "x", ""]
