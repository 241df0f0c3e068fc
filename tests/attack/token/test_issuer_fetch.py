"""A provider's documents lead the gateway nowhere that its administrator did not name, and cost it little (CWE-918, CWE-400)."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from hilbert.core.access import Issuer as IssuerObject
from hilbert.core.errors import BackendUnavailable
from hilbert.iam import fetch as fetching
from hilbert.iam.fetch import MAX_BYTES, Fetcher, authority
from hilbert.iam.issuer_keys import IssuerKeys
from hilbert.iam.jose import BadToken
from support.authority import make_authority
from support.issuer import Issuer, Key

pytestmark = pytest.mark.anyio

Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers every connection as a test says, and counts them."""

    def __init__(self, answering: Answering) -> None:
        self.requests: list[bytes] = []
        self._answering = answering

    async def start(self, tls: ssl.SSLContext | None = None) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            await self._answering(request, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self._server.close()


Starting = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[Starting]:
    started: list[Server] = []

    async def begin(answering: Answering | bytes, tls: ssl.SSLContext | None = None) -> Server:
        async def say(_request: bytes, writer: asyncio.StreamWriter) -> None:
            assert isinstance(answering, bytes)
            writer.write(answering)
            await writer.drain()

        started.append(await Server(say if isinstance(answering, bytes) else answering).start(tls))
        return started[-1]

    yield begin
    for server in started:
        server.close()


def message(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def named(server: Server) -> frozenset[str]:
    return frozenset({authority(server.url)})


async def test_a_document_of_a_host_that_was_named(start: Starting) -> None:
    server = await start(message(b"{}"))
    assert await Fetcher()(f"{server.url}/a?b", named(server)) == b"{}"
    assert server.requests[0].startswith(b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1")
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
    ],
)
async def test_answers_of_other_forms(start: Starting, answer: bytes) -> None:
    server = await start(answer)
    assert await Fetcher()(server.url, named(server)) == b"{}"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_redirects_are_not_followed(start: Starting, status: str) -> None:
    inside = await start(message(b"secret"))
    server = await start(message(b"", status, f"Location: {inside.url}/secret"))
    with pytest.raises(BackendUnavailable, match="it answered 3"):
        await Fetcher()(server.url, named(server))
    assert inside.requests == []


ADDRESSES = [
    "127.0.0.1", "::1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "fd00:ec2::254", "fe80::1", "0.0.0.0", "::",
    "100.64.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "not-an-address",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_name_that_leads_inside_is_not_followed(start: Starting, address: str) -> None:
    """What the provider's document names, whatever name hides the address; also when it changes after a first look (rebinding)."""
    server = await start(message(b"{}"))

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return [address]

    with pytest.raises(BackendUnavailable, match="private network"):
        await Fetcher(resolve=resolve)(f"https://keys.example.com:{server.port}/", frozenset({"id.example.com:443"}))
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_x", "data:,x", "//x", "", "https://", "https://user:pw@127.0.0.1/",
     "https://x:99999/", "https://[::1", "unix:///run/docker.sock", "https://x/\r\nX: y", "https://x/ y", "https://\u00e4/", "https://x/" + "y" * 2048],
)  # fmt: skip
async def test_addresses_of_other_kinds(url: str) -> None:
    """CVE-2026-48522: only http and https are fetched."""
    with pytest.raises(BackendUnavailable, match="not the address of a key set"):
        await Fetcher()(url, frozenset({authority(url)}))


async def test_keys_come_by_https_unless_their_host_was_named(start: Starting) -> None:
    server = await start(message(b"{}"))
    with pytest.raises(BackendUnavailable, match="by https"):
        await Fetcher()(server.url, frozenset({"id.example.com:443"}))
    assert server.requests == []


@pytest.mark.bound("issuer-document")
async def test_documents_without_an_end(start: Starting) -> None:
    async def flood(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async def headers(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Header: " + b"x" * 8000 + b"\r\n")
            await writer.drain()

    for answering in (flood, headers, message(b"x" * (MAX_BYTES + 1))):
        server = await start(answering)
        with pytest.raises(BackendUnavailable, match=r"too large|larger than|not HTTP"):
            await Fetcher()(server.url, named(server))


@pytest.mark.bound("issuer-time")
async def test_answers_that_never_end(start: Starting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WITHIN", 0.3)
    never = asyncio.Event()

    async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async def dribble(_request: bytes, writer: asyncio.StreamWriter) -> None:
        rest = message(b"x" * 60_000)
        while rest and not never.is_set():
            writer.write(rest[:1])
            await writer.drain()
            rest = rest[1:]
            await asyncio.sleep(0.01)

    for answering in (silent, dribble):
        server = await start(answering)
        with pytest.raises(BackendUnavailable, match="took longer"):
            await Fetcher()(server.url, named(server))
    never.set()


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", message(b"{}")[:-1], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 abc\r\n\r\n"]
)
async def test_answers_that_are_none(start: Starting, answer: bytes) -> None:
    server = await start(answer)
    with pytest.raises(BackendUnavailable):
        await Fetcher()(server.url, named(server))


async def test_certificates_are_checked(start: Starting, tmp_path: Path) -> None:
    both = make_authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(both)
    server = await start(message(b"{}"), tls)
    with pytest.raises(BackendUnavailable, match="certificate"):
        await Fetcher()(server.url, named(server))
    trusting = Fetcher(tls=ssl.create_default_context(cafile=str(both)))
    assert await trusting(server.url, named(server)) == b"{}"

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    other = Fetcher(tls=ssl.create_default_context(cafile=str(both)), resolve=resolve)
    with pytest.raises(BackendUnavailable, match="certificate"):
        await other(f"https://localhost:{server.port}/", frozenset({f"localhost:{server.port}"}))


async def test_a_pods_token_goes_to_the_api_server_alone(start: Starting, tmp_path: Path) -> None:
    both = make_authority(tmp_path)
    (tmp_path / "token").write_text("pod-token\n")
    (tmp_path / "ca.crt").write_bytes((tmp_path / "cert").read_bytes())
    server = await start(message(b"{}"))
    fetcher = Fetcher(service_account=tmp_path, tls=ssl.create_default_context(cafile=str(both)))
    await fetcher(server.url, named(server))
    assert b"pod-token" not in server.requests[0]


# What the documents say.


def trusted(issuer: Issuer, internal: str = "") -> IssuerObject:
    return IssuerObject(name="idp", iss=issuer.iss, aud=("x",), internal=internal)


async def test_a_discovery_document_of_another_issuer() -> None:
    issuer = Issuer()
    for wrong in (issuer.iss + "/", "https://other.example.com", None, [issuer.iss]):
        document = json.dumps({"issuer": wrong, "jwks_uri": issuer.jwks_uri}).encode()
        issuer.documents = {issuer.iss + "/.well-known/openid-configuration": document}
        with pytest.raises(BackendUnavailable, match="another issuer's"):
            await IssuerKeys(issuer.fetch).find(trusted(issuer), "one")
    assert issuer.jwks_uri not in issuer.fetched


@pytest.mark.parametrize("uri", [None, 7, ["https://x"], {}])
async def test_a_discovery_document_without_keys(uri: object) -> None:
    issuer = Issuer()
    document = json.dumps({"issuer": issuer.iss, "jwks_uri": uri}).encode()
    issuer.documents = {issuer.iss + "/.well-known/openid-configuration": document}
    with pytest.raises(BackendUnavailable, match="names no key set"):
        await IssuerKeys(issuer.fetch).find(trusted(issuer), "one")


async def test_an_issuer_with_a_slash_at_its_end() -> None:
    issuer = Issuer("https://tenant.example.com/")
    assert await IssuerKeys(issuer.fetch).find(trusted(issuer), "one")
    assert issuer.fetched[0] == "https://tenant.example.com/.well-known/openid-configuration"


async def test_the_inner_address_is_the_only_one_that_is_asked() -> None:
    """What its documents say leads nowhere else."""
    issuer = Issuer("https://id.example.com/realms/a")
    inner = "http://keycloak.svc:8080/realms/a"
    issuer.documents = {
        f"{inner}/.well-known/openid-configuration": json.dumps(
            {"issuer": issuer.iss, "jwks_uri": "https://169.254.169.254/realms/a/keys"}
        ).encode(),
        f"{inner}/keys": json.dumps({"keys": [issuer.keys[0].jwk()]}).encode(),
    }
    assert await IssuerKeys(issuer.fetch).find(trusted(issuer, inner), "one")
    assert issuer.fetched == [f"{inner}/.well-known/openid-configuration", f"{inner}/keys"]


async def test_many_that_wait_share_one_fetch() -> None:
    issuer = Issuer()
    keys = IssuerKeys(issuer.fetch)
    found = await asyncio.gather(*(keys.find(trusted(issuer), "one") for _ in range(100)))
    assert len({id(one) for one in found}) == 1
    assert len(issuer.fetched) == 2


async def test_a_token_without_a_key_id() -> None:
    issuer = Issuer()
    assert await IssuerKeys(issuer.fetch).find(trusted(issuer), None)
    issuer.keys.append(Key("two"))
    with pytest.raises(BadToken):
        await IssuerKeys(issuer.fetch).find(trusted(issuer), None)
