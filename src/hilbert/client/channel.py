"""The way to one origin, as far as it is the same with and without asyncio: headers, proxy, certificates."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self

from hilbert.client.auth import BasicAuth
from hilbert.client.codec import Request, describe, encode_chunk, encode_head, octets
from hilbert.client.faults import GatewayUnreachable
from hilbert.client.url import Origin, find_proxy

if TYPE_CHECKING:
    import ssl

PIECE: Final = 64 * 1024
"""Bytes that are read at once."""
MOST_CONNECT: Final = 10.0
"""Seconds for a connection to be made, if the call allows that long."""


class Channel:
    """What a transport knows of the origin it connects to."""

    def __init__(
        self,
        origin: Origin,
        *,
        environ: Mapping[str, str],
        verify: bool = True,
        ca_file: str = "",
        extra: Sequence[tuple[str, str]] = (),
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """`extra` are headers of every request that does not set them itself. Raises `Invalid` for a bad proxy."""
        self.origin = origin
        self.proxy = find_proxy(origin, environ)
        self._environ = environ
        self._verify = verify
        self._ca_file = ca_file
        self._extra = tuple(extra)
        self._trace = trace
        self._tls: ssl.SSLContext | None = None

    def to(self, origin: Origin) -> Self:
        """The same kind of way to another origin."""
        return type(self)(
            origin,
            environ=self._environ,
            verify=self._verify,
            ca_file=self._ca_file,
            extra=self._extra,
            trace=self._trace,
        )

    def encode(self, request: Request) -> bytes:
        """The request's line and headers. Raises `Invalid` for a header that could smuggle another one."""
        proxied = self.proxy is not None and not self.origin.secure
        extra = self._extra
        if self.proxy is not None and proxied:
            extra = (*extra, *_proxy_headers(self.proxy))
        head = encode_head(request, self.origin, extra=extra, proxied=proxied)
        if self._trace is not None:
            self._trace(describe(request, self.origin, extra))
        return head

    def tls_context(self) -> ssl.SSLContext:
        """Made once. Raises `GatewayUnreachable` when the file of certificates cannot be used."""
        if self._tls is None:
            self._tls = _make_context(verify=self._verify, ca_file=self._ca_file)
        return self._tls


def outbound(head: bytes, request: Request) -> Iterator[bytes]:
    """The request in pieces, as they go onto the wire; `pieces` that are awaited are not for here."""
    if request.pieces is None:
        yield head + request.body if len(request.body) <= PIECE else head
        if len(request.body) > PIECE:
            yield request.body
        return
    if isinstance(request.pieces, AsyncIterable):
        raise TypeError("a body that is awaited needs AsyncClient")
    yield head
    for piece in request.pieces:
        if piece:
            yield encode_chunk(piece) if request.chunked else octets(piece, "a piece of a body")
    if request.chunked:
        yield encode_chunk(b"")


def tunnel_request(origin: Origin, proxy: Origin) -> bytes:
    """`CONNECT` for TLS through an HTTP proxy (RFC 9110, 9.3.6)."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in _proxy_headers(proxy))
    return f"CONNECT {origin.host_port} HTTP/1.1\r\nHost: {origin.host_port}\r\n{headers}\r\n".encode("latin-1")


def check_tunnel(answer: bytes, proxy: Origin) -> None:
    """Raises `GatewayUnreachable` when the proxy refused."""
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise GatewayUnreachable(f"the proxy {proxy} refused: {status}")


def _proxy_headers(proxy: Origin) -> tuple[tuple[str, str], ...]:
    """What a proxy wants to know of the caller."""
    if not proxy.userinfo:
        return ()
    user, _, password = proxy.userinfo.partition(":")
    return (("Proxy-Authorization", BasicAuth(user, password).header()),)


def _make_context(*, verify: bool, ca_file: str) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as exc:
        raise GatewayUnreachable(f"cannot use the certificates in {ca_file}: {exc}") from exc
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
