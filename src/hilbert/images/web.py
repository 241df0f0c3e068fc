"""HTTP to registries, whose names and redirects strangers choose.

A name is looked up here, the address is checked, and exactly that address is connected to. The certificate is checked for
the name. Addresses on private networks and on this machine are for registries that an administrator has listed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx2

import hilbert
from hilbert.core.addresses import is_callable, is_here
from hilbert.images.source import Failed

MOST_REDIRECTS: Final = 5
_PAUSE: Final = httpx2.Timeout(connect=10.0, read=60.0, write=30.0, pool=None)
"""Seconds: for a connection, and between two pieces of an answer."""
_ACROSS: Final = frozenset({"authorization"})
"""Headers that another host than the one that was asked does not get."""


class Unreachable(Exception):
    """No answer. The message is public."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        """`lasting`: it makes no sense to try again at once."""
        super().__init__(message)
        self.lasting = lasting


class Answer:
    """An HTTP answer whose body is still to be read."""

    def __init__(self, response: httpx2.Response, *, is_of_asked: bool) -> None:
        self._response = response
        self.is_of_asked = is_of_asked
        """It is of the host that was asked, and not of one that it has sent us on to: what that one wants to know is not its business."""
        self.status = response.status_code
        self.headers = response.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `Unreachable` when it breaks off."""
        try:
            async for piece in self._response.aiter_raw():
                yield piece
        except httpx2.HTTPError as exc:
            raise _unreachable(exc) from exc

    async def read(self, most: int) -> bytes:
        """The whole body. Raises `Unreachable`, also when it is longer than `most` bytes."""
        whole = bytearray()
        async for piece in self.pieces():
            whole += piece
            if len(whole) > most:
                raise Unreachable(f"its answer is longer than {most} bytes")
        return bytes(whole)


class Web:
    """Connections to registries and to what they send one on to."""

    def __init__(self, *, ca_file: str = "") -> None:
        """`ca_file`: certificates of authorities, trusted beside the system's own. Raises `Failed`."""
        context = ssl.create_default_context()
        if ca_file:
            try:
                context.load_verify_locations(cafile=ca_file)
            except OSError as exc:
                raise Failed("reading images.ca_file", f"{ca_file}: {exc.strerror or exc}") from exc
        headers = {"User-Agent": f"hilbert/{hilbert.__version__}", "Accept-Encoding": "identity"}
        self._direct = httpx2.AsyncClient(verify=context, timeout=_PAUSE, headers=headers, trust_env=False)
        self._proxied = httpx2.AsyncClient(verify=context, timeout=_PAUSE, headers=headers, trust_env=True)
        self._proxies = getproxies()

    async def close(self) -> None:
        await self._direct.aclose()
        await self._proxied.aclose()

    @contextlib.asynccontextmanager
    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str], listed: bool, insecure: bool, body: str = ""
    ) -> AsyncIterator[Answer]:
        """Ask, and go where answers send one. `listed`: an administrator did, so any address will do.

        `insecure`: an administrator said that it speaks plain HTTP. Raises `Unreachable` and `Failed`.
        """
        target = _parse(url)
        left, asked = dict(headers), _origin(target)
        for _ in range(MOST_REDIRECTS + 1):
            if target.scheme != "https" and not (insecure and target.scheme == "http"):
                raise Unreachable("it leads to an address without TLS", lasting=True)
            response = await self._send(method, target, left, body, listed=listed)
            try:
                if response.status_code not in (301, 302, 303, 307, 308) or "location" not in response.headers:
                    yield Answer(response, is_of_asked=_origin(target) == asked)
                    return
                onward = _parse(response.headers["location"], base=target)
            finally:
                await response.aclose()
            if _origin(onward) != _origin(target):
                if body:
                    raise Unreachable("it sends on to another host what is meant for itself", lasting=True)
                left = {name: value for name, value in left.items() if name.lower() not in _ACROSS}
            target = onward
        raise Unreachable(f"it redirects more than {MOST_REDIRECTS} times")

    async def _send(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], body: str, *, listed: bool
    ) -> httpx2.Response:
        port = url.port or (443 if url.scheme == "https" else 80)
        content = body.encode() or None
        try:
            if url.scheme in self._proxies and not proxy_bypass(url.host):
                request = self._proxied.build_request(method, url, headers=headers, content=content)
                return await self._proxied.send(request, stream=True)
            addresses = await _allowed(url.host, port, listed=listed)
            for number, address in enumerate(addresses):
                request = self._direct.build_request(
                    method,
                    url.copy_with(host=address),
                    headers={**headers, "Host": url.netloc.decode("ascii")},
                    content=content,
                    extensions={"sni_hostname": url.host},
                )
                try:
                    return await self._direct.send(request, stream=True)
                except httpx2.ConnectError:
                    if number + 1 == len(addresses):
                        raise
        except httpx2.HTTPError as exc:
            raise _unreachable(exc) from exc
        raise Unreachable("the name has no address", lasting=True)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _parse(text: str, *, base: httpx2.URL | None = None) -> httpx2.URL:
    try:
        return base.join(text) if base is not None else httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise Unreachable("it leads to something that is not an address", lasting=True) from exc


async def _allowed(host: str, port: int, *, listed: bool) -> Sequence[str]:
    """The addresses of a name that may be connected to. Raises `Unreachable` and `Failed`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise Unreachable("there is no such host", lasting=True) from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    parsed = [(text, ip_address(text.partition("%")[0])) for text in addresses]
    if listed:  # Wherever it is, and whatever it sends us on to, that is no service of the cloud's which gives away credentials.
        allowed = [text for text, address in parsed if is_callable(address, allow_private=True) or is_here(address)]
    else:
        allowed = [
            text for text, address in parsed if is_callable(address, allow_private=False) and not is_here(address)
        ]
    if not allowed:
        raise Failed(
            f"connecting to {host}",
            "its address is this machine's, or belongs to a private network",
            hint="an administrator can list it in images.private_registries, or in images.insecure_registries if it has no TLS",
        )
    return allowed


def _unreachable(exc: Exception) -> Unreachable:
    """In one sentence; a chain of libraries says the same several times."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(f"its certificate is not trusted: {cause.verify_message}", lasting=True)
        if isinstance(cause, ssl.SSLError):
            return Unreachable(f"TLS failed: {cause.reason}", lasting=True)
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, httpx2.TimeoutException):
        return Unreachable("it did not answer in time")
    return Unreachable(str(exc) or type(exc).__name__)
