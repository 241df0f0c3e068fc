"""The smallest HTTP client: one GET, for its status alone. For health and readiness checks."""

from __future__ import annotations

import asyncio

from hilbert.kit.http1.pool import Dialing

_AGENT = "hilbert-probe"


class _Probe(asyncio.Protocol):
    def __init__(self, path: str, answer: asyncio.Future[int]) -> None:
        self._path = path
        self._answer = answer
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        request = f"GET {self._path} HTTP/1.1\r\nHost: replica\r\nUser-Agent: {_AGENT}\r\nConnection: close\r\n\r\n"
        transport.write(request.encode())  # type: ignore[attr-defined]  # a stream's transport can write

    def data_received(self, data: bytes) -> None:
        if self._answer.done():
            return
        self._seen += data[:16]
        if len(self._seen) >= 12:
            status = self._seen[9:12]
            self._settle(int(status) if self._seen.startswith(b"HTTP/1.") and status.isdigit() else 0)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self._settle(0)

    def _settle(self, status: int) -> None:
        if not self._answer.done():
            self._answer.set_result(status)


async def ask(address: str, path: str, *, dialer: Dialing | None = None) -> int:
    """The status of the answer to GET `path`; 0 when there is none. Waits for as long as it takes.

    `address` is `unix:/absolute/path`, `tcp:HOST:PORT`, an IPv6 host in brackets, or `inside:PATH:REPLICA:PORT`. `path` is trusted (`safe_path`).
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int] = loop.create_future()
    kind, _, rest = address.partition(":")
    transport: asyncio.Transport
    try:
        if kind == "unix":
            transport, _ = await loop.create_unix_connection(lambda: _Probe(path, answer), rest)
        elif kind == "inside" and dialer is not None:
            sock = await dialer.dial(rest)
            transport, _ = await loop.create_connection(lambda: _Probe(path, answer), sock=sock)
        else:
            host, _, port = rest.rpartition(":")
            transport, _ = await loop.create_connection(lambda: _Probe(path, answer), host.strip("[]"), int(port))
    except OSError:
        return 0
    try:
        return await answer
    finally:
        transport.close()


def safe_path(text: str | None, default: str) -> str:
    """A request path from an annotation; `default` where that is none."""
    if text and text.startswith("/") and text.isascii() and text.isprintable() and " " not in text:
        return text
    return default
