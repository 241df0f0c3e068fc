"""Fetches a small JSON document of an identity provider: the only thing in this package that goes out.

An administrator says which provider; the provider says where its keys are. So the second address is not to be trusted:
it must be on the internet, unless it is on the very host that the administrator named. What counts is the address that is
connected to, after names have been looked up. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httptools

from hilbert.core.addresses import is_callable, is_here, parse_address
from hilbert.core.errors import BackendUnavailable

MAX_BYTES: Final = 64 * 1024
"""Of a document."""
WITHIN: Final = 5.0
"""Seconds from looking up the name to the last byte."""
_MAX_HEAD: Final = 16 * 1024
_MAX_ADDRESSES: Final = 4
_LONGEST: Final = 2048
_CLUSTER: Final = frozenset({"kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"})
"""Names of the API server inside a cluster."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Fetch = Callable[[str, frozenset[str]], Awaitable[bytes]]
"""A document by its URL, with the hosts (`HOST:PORT`) that may be anywhere and may be asked without TLS."""


def authority(url: str) -> str:
    """`HOST:PORT` of a URL, in lower case; empty for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname and port else ""


class Fetcher:
    """Fetches by HTTP/1.1, each document on a connection of its own."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        service_account: Path | None = None,
    ) -> None:
        """`tls` says which certificates are believed; by default, those of the system.

        `service_account` is the folder of a Pod's: its token goes to the cluster's API server, which asks for it, if an
        administrator named that, and to nobody else.
        """
        self._tls = tls
        self._resolve = resolve or _look_up
        self._service_account = service_account

    async def __call__(self, url: str, named: frozenset[str]) -> bytes:
        """Raises `BackendUnavailable`, which says why."""
        try:
            async with asyncio.timeout(WITHIN):
                return await self._fetch(url, named)
        except TimeoutError as exc:
            raise _failed(url, f"it took longer than {WITHIN:g} s") from exc
        except OSError as exc:
            raise _failed(url, str(exc)) from exc

    def _context(self, named: str) -> ssl.SSLContext:
        if named in _CLUSTER and self._service_account is not None:
            return ssl.create_default_context(cafile=str(self._service_account / "ca.crt"))
        return self._tls or ssl.create_default_context()

    async def _fetch(self, url: str, named: frozenset[str]) -> bytes:
        _check_url(url)
        parts, is_named = urlsplit(url), authority(url) in named
        host, is_tls = parts.hostname or "", parts.scheme == "https"
        if not is_tls and not is_named:
            raise _failed(url, "keys must come by https")
        port = int(authority(url).rpartition(":")[2])
        found = [one for one in await self._resolve(host, port) if is_named or _is_public(one)]
        if not found:
            raise _failed(url, "the name has no address, or leads into a private network")
        context = self._context(host if is_named else "") if is_tls else None
        reader, writer = await _connect(found, port, context, host)
        try:
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Accept: application/json", "Connection: close"]
            if context is not None and is_named and host in _CLUSTER and self._service_account is not None:
                token = (self._service_account / "token").read_text(encoding="utf-8").strip()
                lines.append(f"Authorization: Bearer {token}")
            writer.write("\r\n".join([*lines, "User-Agent: hilbert", "", ""]).encode())
            answer = _Answer()
            while not answer.is_whole:
                data = await reader.read(_MAX_HEAD)
                if not data:
                    answer.end()
                    break
                answer.feed(data)
        except httptools.HttpParserError as exc:
            raise _failed(url, "its answer is not HTTP") from exc
        finally:
            writer.close()
        if answer.fault or answer.status != 200:
            raise _failed(url, answer.fault or f"it answered {answer.status}")
        return bytes(answer.body)


async def _connect(
    addresses: Sequence[str], port: int, context: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first that answers. Raises `OSError`."""
    error = OSError("the name has no address")
    for address in addresses[:_MAX_ADDRESSES]:
        try:
            return await asyncio.open_connection(
                address, port, ssl=context, server_hostname=host if context is not None else None, limit=_MAX_HEAD
            )
        except OSError as exc:
            error = exc
    raise error


class _Answer:
    """An answer as it comes, within bounds."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_whole = False
        self.fault = ""
        self._names: set[str] = set()
        self._head = 0
        self._in_head = True
        self._parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        found: int = self._parser.get_status_code()
        return found

    def feed(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
            if self._head > _MAX_HEAD + MAX_BYTES:
                self._give_up("its answer is too large")
                return
        self._parser.feed_data(data)

    def end(self) -> None:
        """The other side has closed the connection: the end of an answer without a length, and else a fault."""
        if not self.is_whole and (
            self._in_head or "content-length" in self._names or "transfer-encoding" in self._names
        ):
            self._give_up("its answer breaks off")

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._names.add(name.decode("latin-1").lower())

    def on_headers_complete(self) -> None:
        self._in_head = False

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > MAX_BYTES:
            self._give_up(f"its answer is larger than {MAX_BYTES} bytes")

    def on_message_complete(self) -> None:
        self.is_whole = True

    def _give_up(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.is_whole = True


def _check_url(url: str) -> None:
    """Raises `BackendUnavailable` for what is no plain address of a document."""
    good = bool(authority(url)) and len(url) <= _LONGEST and url.isascii() and all("!" <= char <= "~" for char in url)
    if not good or urlsplit(url).scheme not in ("https", "http") or urlsplit(url).username is not None:
        raise _failed(url, "this is not the address of a key set")


def _is_public(address: str) -> bool:
    parsed = parse_address(address)
    return parsed is not None and is_callable(parsed, allow_private=False) and not is_here(parsed)


def _failed(url: str, why: str) -> BackendUnavailable:
    return BackendUnavailable(f"cannot fetch {ascii(url[:200])[1:-1]}: {why}")


async def _look_up(host: str, port: int) -> Sequence[str]:
    import socket

    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
