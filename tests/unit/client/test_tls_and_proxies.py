"""TLS, and proxies with and without it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from hilbert.client import AsyncClient, BasicAuth, Client, GatewayUnreachable
from support.cli import PASSWORD, USER, Gateway

AUTH = BasicAuth(USER, PASSWORD)
Names = Callable[..., list[str]]


@pytest.fixture(params=["sync", "async", "uvloop"])
def names(request: pytest.FixtureRequest) -> Names:
    """`list_namespaces` by either client."""

    def ask(url: str, **options: object) -> list[str]:
        if request.param == "sync":
            with Client(url, auth=AUTH, timeout=10, **options) as client:  # type: ignore[arg-type]  # options of the test
                client.list_namespaces()
                return client.list_namespaces()

        async def run() -> list[str]:
            async with AsyncClient(url, auth=AUTH, timeout=10, **options) as client:  # type: ignore[arg-type]  # as above
                await client.list_namespaces()
                return await client.list_namespaces()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as runner:
            return runner.run(run())

    return ask


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key in one file, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and nothing else here makes certificates")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key", "-out", "cert"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


@pytest.fixture
def secure(certificate: Path) -> Iterator[Gateway]:
    """A gateway that speaks TLS."""
    gateway = Gateway()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    gateway._server.socket = context.wrap_socket(
        gateway._server.socket, server_side=True, do_handshake_on_connect=False
    )
    gateway.start()
    yield gateway
    gateway.close()


def port_of(gateway: Gateway) -> int:
    return int(gateway._server.server_address[1])


@dataclass
class Proxy:
    """An HTTP proxy that forwards to one port whatever it is asked for, and notes the heads of what it got."""

    target: int
    refuse: bool = False
    heads: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._serve, daemon=True)]
        self.threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            self.heads.append(head)
            if self.refuse:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open += [client, server]
            if head.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                line, rest = head.split(b"\r\n", 1)
                method, url, version = line.split(b" ")
                server.sendall(b" ".join([method, b"/" + url.split(b"/", 3)[3], version]) + b"\r\n" + rest)
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=_pump, args=(source, sink), daemon=True)
                thread.start()
                self.threads.append(thread)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for sock in self.open:
            sock.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_trusted_certificate(names: Names, secure: Gateway, certificate: Path) -> None:
    """Its name counts."""
    assert names(f"https://localhost:{port_of(secure)}", ca_file=str(certificate)) == ["openfaas-fn"]
    with pytest.raises(GatewayUnreachable, match=r"(?i)certificate"):
        names(f"https://127.0.0.1:{port_of(secure)}", ca_file=str(certificate))


def test_a_certificate_that_nobody_vouches_for(names: Names, secure: Gateway) -> None:
    """Refused, unless it is asked not to look."""
    url = f"https://localhost:{port_of(secure)}"
    with pytest.raises(GatewayUnreachable, match=r"(?i)certificate"):
        names(url)
    assert names(url, verify=False) == ["openfaas-fn"]


def test_certificates_that_cannot_be_read(names: Names, tmp_path: Path) -> None:
    """Names the file."""
    with pytest.raises(GatewayUnreachable, match=r"nowhere\.pem"):
        names("https://localhost:1", ca_file=str(tmp_path / "nowhere.pem"))


def test_plain_http_to_a_tls_port(names: Names, secure: Gateway) -> None:
    """Fails with a sentence."""
    from hilbert.core.errors import BackendError

    with pytest.raises(BackendError):
        names(f"http://localhost:{port_of(secure)}")


def test_through_a_proxy(names: Names) -> None:
    """The whole URL in the request, and the proxy's own credentials, which the gateway's do not replace."""
    gateway = Gateway().start()
    try:
        with Proxy(port_of(gateway)) as proxy:
            environ = {"HTTP_PROXY": f"http://me:s%40fe@127.0.0.1:{proxy.port}"}
            assert names("http://gateway.example:1234/", environ=environ) == ["openfaas-fn"]
        assert proxy.heads[0].startswith(b"GET http://gateway.example:1234/system/namespaces HTTP/1.1\r\n")
        assert b"\r\nHost: gateway.example:1234\r\n" in proxy.heads[0]
        assert b"\r\nProxy-Authorization: Basic bWU6c0BmZQ==\r\n" in proxy.heads[0]  # me:s@fe
    finally:
        gateway.close()


def test_tls_through_a_proxy(names: Names, secure: Gateway, certificate: Path) -> None:
    """A tunnel; the proxy sees neither path nor credentials."""
    # Only the name of the certificate works, and loopback is never proxied: so the name is another and is not checked.
    with Proxy(port_of(secure)) as proxy:
        environ = {"HTTPS_PROXY": f"http://me:pass@127.0.0.1:{proxy.port}"}
        assert names("https://gateway.example:1234", environ=environ, verify=False) == ["openfaas-fn"]
        with pytest.raises(GatewayUnreachable, match=r"(?i)certificate"):
            names("https://gateway.example:1234", environ=environ, ca_file=str(certificate))
    assert proxy.heads[0] == (
        b"CONNECT gateway.example:1234 HTTP/1.1\r\nHost: gateway.example:1234\r\n"
        b"Proxy-Authorization: Basic bWU6cGFzcw==\r\n\r\n"
    )
    assert len(proxy.heads) == 2


def test_a_proxy_that_refuses(names: Names) -> None:
    """Says so, and says who."""
    with Proxy(0, refuse=True) as proxy, pytest.raises(GatewayUnreachable, match=r"refused: HTTP/1\.1 407"):
        names("https://gateway.example", environ={"ALL_PROXY": f"127.0.0.1:{proxy.port}"})
