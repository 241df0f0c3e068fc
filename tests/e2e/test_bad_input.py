"""Wrong input through the whole platform: a clear refusal, and nothing changed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from support.platform import Platform, running, until

BAD_NAMES = ["..", "../../etc", "a/b", "a\0b", "Upper", "a" * 64, "naïve", "-a", "a-", "a_b", "a.b", " ", "a b", "‮a"]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("gateway.workers=1", "gateway.max_api_body=64Ki") as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_changed(platform: Platform) -> Iterator[None]:
    """After each test the platform answers and holds just what it held."""
    before = inventory(platform)
    yield
    assert inventory(platform) == before


def inventory(platform: Platform) -> list[str]:
    return [platform.api("GET", path).text for path in ("/system/namespaces", "/system/functions", "/system/secrets")]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names(platform: Platform, name: str) -> None:
    """As function, namespace and secret, in every field that takes one."""
    function = {"service": name, "image": "functions/alpine:latest"}
    assert platform.api("POST", "/system/functions", function).status == 400
    assert platform.api("PUT", "/system/functions", function).status == 400
    assert platform.api("POST", "/system/functions", {**function, "service": "fine", "namespace": name}).status == 400
    assert platform.api("POST", "/system/functions", {**function, "service": "fine", "secrets": [name]}).status == 400
    assert platform.api("DELETE", "/system/functions", {"functionName": name}).status in (400, 404)
    marked = {"name": name, "annotations": {"openfaas": "1"}}
    assert platform.api("POST", "/system/namespace/", marked).status == 400
    if name not in ("a.b", "a" * 64):  # A secret's name may hold dots, and be longer.
        assert platform.api("POST", "/system/secrets", {"name": name, "value": "x"}).status == 400
    assert platform.api("POST", "/system/secrets", {"name": "fine", "namespace": name, "value": "x"}).status == 400
    assert platform.api("DELETE", "/system/secrets", {"name": name}).status in (400, 404)


@pytest.mark.parametrize("name", ["kube-system", "kube-public", "kube-node-lease", "openfaas", "hilbert"])
def test_reserved_namespaces(platform: Platform, name: str) -> None:
    """They can be neither made nor deployed to."""
    assert platform.api("POST", "/system/namespace/", {"name": name, "annotations": {"openfaas": "1"}}).status in (
        400,
        401,
        403,
    )
    function = {"service": "fine", "image": "functions/alpine:latest", "namespace": name}
    assert platform.api("POST", "/system/functions", function).status in (400, 401, 403)
    assert platform.call(f"/function/fine.{name}").status in (404, 503)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b'{"service": 1, "image": "x"}', b'{"service": "a", "image": []}',
     b'{"service": "a", "image": "x", "labels": {"a": 1}}', b"[" * 5000, b'{"service": "a", "image": "x"' + b" " * 70_000 + b"}"],
)  # fmt: skip
def test_bodies(platform: Platform, body: bytes) -> None:
    """Malformed JSON, wrong types, too deep, too large."""
    from base64 import b64encode

    token = b64encode(f"admin:{platform.password}".encode()).decode()
    answer = platform.call(
        "/system/functions",
        body,
        method="POST",
        headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
    )
    assert answer.status in ((413,) if len(body) > 65536 else (400,)), answer.text
    assert answer.text.strip()


def test_duplicates_and_absences(platform: Platform) -> None:
    """Creating twice is refused, deleting what is absent is told."""
    function = {"service": "twin", "image": "functions/alpine:latest", "envProcess": "cat"}
    assert platform.api("POST", "/system/functions", function).status == 202
    assert platform.api("POST", "/system/functions", function).status == 409
    assert platform.api("DELETE", "/system/functions", {"functionName": "twin"}).status == 202
    until(lambda: platform.api("GET", "/system/function/twin").status == 404, what="twin to be gone")
    assert platform.api("DELETE", "/system/functions", {"functionName": "twin"}).status == 404
    assert platform.api("PUT", "/system/functions", function).status == 404
    assert platform.api("POST", "/system/secrets", {"name": "twin", "value": "x"}).status == 202
    assert platform.api("POST", "/system/secrets", {"name": "twin", "value": "x"}).status == 409
    assert platform.api("DELETE", "/system/secrets", {"name": "twin"}).status == 202
    assert platform.api("DELETE", "/system/secrets", {"name": "twin"}).status == 404
    assert platform.api("PUT", "/system/secrets", {"name": "twin", "value": "x"}).status == 404
    assert platform.api("DELETE", "/system/namespace/absent", {"name": "absent"}).status == 404


def test_unknown_namespace(platform: Platform) -> None:
    """A namespace that does not exist is refused with the text that clients know."""
    function = {"service": "fine", "image": "functions/alpine:latest", "namespace": "nowhere"}
    for method in ("POST", "PUT"):
        answer = platform.api(method, "/system/functions", function)
        assert (answer.status, answer.text.splitlines()[0]) == (400, "namespace not valid")
    assert platform.api("GET", "/system/functions?namespace=nowhere").status == 400


def test_unknown_image(platform: Platform) -> None:
    """A name that can be no image's is refused."""
    for image in ("ghcr.io/someone/Thing:1", "thing@sha256:12"):
        answer = platform.api("POST", "/system/functions", {"service": "fine", "image": image})
        assert answer.status == 400
        assert "is not an image's name" in answer.text


def test_without_credentials(platform: Platform) -> None:
    """The REST API asks for the password; a wrong one is refused alike."""
    for headers in (
        {},
        {"Authorization": "Basic YWRtaW46d3Jvbmc="},
        {"Authorization": "Bearer "},
        {"Authorization": "x"},
    ):
        answer = platform.call("/system/functions", headers=headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'
    assert platform.call("/healthz").status == 200


def test_oversized_headers(platform: Platform) -> None:
    """More header bytes than allowed get 431 and a closed connection."""
    place = urlsplit(platform.url)
    with socket.create_connection((place.hostname, place.port), 10) as sock:
        sock.sendall(b"GET /function/x HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n")
        received = b""
        while chunk := sock.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 431 ")


def test_errors_as_json(platform: Platform) -> None:
    """A client that asks for JSON gets the error as JSON."""
    answer = platform.call("/function/absent", headers={"Accept": "application/json"})
    assert answer.status == 404
    assert json.loads(answer.body)
