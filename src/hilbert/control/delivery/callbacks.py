"""Tells whoever asked for it what came of a queued call: `POST` to its `X-Callback-Url`, as OpenFaaS does it.

The address comes from a stranger. What is guarded is the address that is really connected to, after names have been
looked up; redirects are not followed. Functions of the call's own namespace are reached through the gateway.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

import structlog

from hilbert.control.delivery.calling import DELIVERY_FIELD, Unreached, ask, ask_pool, proof
from hilbert.control.delivery.request import DEPTH_FIELD, MOST_DEPTH, QueuedAnswer, QueuedRequest
from hilbert.core.addresses import is_callable, is_here
from hilbert.core.errors import HilbertError, Invalid
from hilbert.core.ports.queue import Lease
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.http1 import ClientConnection, Pool, TimerWheel
from hilbert.kit.http1.forward import HOP_FIELDS
from hilbert.kit.pace import Draw, Pace
from hilbert.kit.retry import Sleep

_log = structlog.get_logger("hilbert.callbacks")

GATEWAY_NAMES: Final = frozenset({"gateway", "gateway.openfaas", "gateway.openfaas.svc.cluster.local"})
"""What functions call the gateway, as OpenFaaS's documentation has it."""
_CALL: Final = "/function/"
_QUEUE: Final = "/async-function/"

TRIES: Final = 3
_PACE: Final = Pace(first=1.0, most=30.0, jitter=0.5)
WITHIN: Final = 30.0
"""Seconds for one try, from looking up the name to the last byte of the answer."""
LONGEST: Final = 2_048
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_OURS: Final = HOP_FIELDS | {
    b"content-length",
    b"host",
    b"x-call-id",
    b"x-duration-seconds",
    b"x-function-status",
    b"x-function-name",
    b"x-retry",
    b"x-retry-max",
    b"user-agent",
    b"x-hilbert-signature-256",
    DELIVERY_FIELD.lower(),
    DEPTH_FIELD.lower(),
}
SIGNATURE_FIELD: Final = b"X-Hilbert-Signature-256"
"""`sha256=` and the HMAC of the body in hexadecimal digits, as GitHub and others sign what they tell."""

KeyOf = Callable[[FunctionRef], Awaitable[bytes | None]]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The numeric addresses of a name, for a port."""


class Blocked(Exception):
    """The address may not be called."""


class Target:
    """A call-back's address, parsed. Raises `Invalid`."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST or not text.isascii() or any(char <= " " or char == "\x7f" for char in text):
            raise Invalid(f"the call-back's address must be a URL of at most {LONGEST} ASCII characters without spaces")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as exc:
            raise Invalid(f"the call-back's address is not a URL: {exc}") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid("the call-back's address must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise Invalid("the call-back's address must not hold a user or a password")
        self.is_tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.is_tls else 80)
        self.path = _path(parts)
        self.authority = parts.netloc

    @property
    def queues(self) -> bool:
        """Whether it queues a call of a function, instead of making one. Only of what `function_of` finds."""
        return self.path.startswith(_QUEUE)

    def function_of(self, namespace: NamespaceName) -> FunctionRef | None:
        """The function that it is, at the gateway; None if it is anything else. Raises as `function_target`."""
        found = self._parts_of(namespace)
        return found[1] if found is not None else None

    def function_target(self, namespace: NamespaceName) -> str | None:
        """The gateway's path, if the address is a function at the gateway; None if it is anything else.

        Raises `Blocked` for what else the gateway has, and for a function of another namespace.
        """
        found = self._parts_of(namespace)
        if found is None:
            return None
        prefix, ref, rest = found
        return f"{prefix}{ref}{rest}"

    def _parts_of(self, namespace: NamespaceName) -> tuple[str, FunctionRef, str] | None:
        """What comes before the function's name, the function, and what comes behind it."""
        if self.host.lower() not in GATEWAY_NAMES:
            return None
        for prefix in (_CALL, _QUEUE):
            if self.path.startswith(prefix):
                name, mark, rest = _name(self.path[len(prefix) :])
                try:
                    ref = FunctionRef.parse(name, default=namespace)
                except Invalid as exc:
                    raise Blocked("it names no function") from exc
                if ref.namespace != namespace:
                    raise Blocked("it is a function of another namespace")
                return prefix, ref, f"{mark}{rest}"
        raise Blocked("the gateway itself is not called back")


class HttpCallBacks:
    """Tells over HTTP, a bounded number of times."""

    def __init__(
        self,
        gateway: Pool,
        wheel: TimerWheel,
        *,
        version: str,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        sleep: Sleep = asyncio.sleep,
        draw: Draw = random.random,
        tls: ssl.SSLContext | None = None,
        key_of: KeyOf | None = None,
        secret: str = "",
    ) -> None:
        """`allow_private`: networks that are not the internet's (RFC 1918 and others alike) may be called.

        `key_of` gives the key with which a function's call-backs are signed, or None; what it raises stops the call-back.
        `secret` proves to the workers that the gateway makes a call: see `GatewayCalls`.
        """
        self._gateway = gateway
        self._wheel = wheel
        self._agent = f"hilbert/{version}".encode()
        self._allow_private = allow_private
        self._resolve = resolve or _look_up
        self._sleep = sleep
        self._draw = draw
        self._tls = tls
        self._key_of = key_of
        self._secret = secret.encode()

    async def tell(
        self, lease: Lease, request: QueuedRequest, answer: QueuedAnswer | None, *, took: float, attempts: int
    ) -> bool:
        """Whether it was told in the end. Never raises."""
        reason = ""
        try:
            target = Target(request.callback)
        except Invalid as exc:
            _log.warning("call-back given up", function=str(lease.call.ref), call_id=lease.call.id, reason=exc.message)
            return False
        for number in range(1, TRIES + 1):
            try:
                async with asyncio.timeout(WITHIN):
                    status = await self._try(target, lease, request, answer, took, attempts)
            except Blocked as exc:
                reason = f"the address may not be called: {exc}"
                break
            except HilbertError as exc:
                reason = f"it cannot be signed: {exc.message}"
                if not exc.retryable:
                    break
            except (Unreached, OSError, TimeoutError) as exc:
                reason = str(exc) or "it took too long"
            else:
                if 200 <= status < 300:
                    return True
                reason = f"it answered {status}"
                if status not in _AGAIN:
                    break
            if number < TRIES:
                await self._sleep(_PACE.delay(number, draw=self._draw))
        _log.warning("call-back given up", function=str(lease.call.ref), call_id=lease.call.id, reason=reason)
        return False

    async def _try(
        self,
        target: Target,
        lease: Lease,
        request: QueuedRequest,
        answer: QueuedAnswer | None,
        took: float,
        attempts: int,
    ) -> int:
        own = target.function_target(lease.call.ref.namespace)
        lines = _lines(self._agent, lease, answer, took, attempts)
        body = answer.body if answer is not None else b""
        if self._key_of is not None and (key := await self._key_of(lease.call.ref)) is not None:
            lines.append(b"%b: sha256=%b" % (SIGNATURE_FIELD, hmac.new(key, body, "sha256").hexdigest().encode()))
        if own is not None:
            if request.depth >= MOST_DEPTH:
                raise Blocked(f"more than {MOST_DEPTH} calls have led to one another")
            lines.append(b"%b: %d" % (DEPTH_FIELD, request.depth + 1))
            if request.is_vouched and self._secret:
                lines.append(proof(self._secret, request))
            return (await ask_pool(self._gateway, _message(own, "gateway", lines, body))).status
        connection = await self._connect(target)
        try:
            return (await ask(connection, _message(target.path, target.authority, lines, body))).status
        finally:
            connection.cut()

    async def _connect(self, target: Target) -> ClientConnection:
        """To the first address of the name that may be called. Raises `Blocked` and `OSError`."""
        found = await self._resolve(target.host, target.port)
        allowed = [address for address in found if self._allows(address)]
        if not allowed:
            raise Blocked("it leads to the platform, to this machine, or into a private network")
        loop = asyncio.get_running_loop()
        tls = (self._tls or ssl.create_default_context()) if target.is_tls else None
        error: OSError = OSError("the name has no address")
        for address in allowed:
            try:
                _, connection = await loop.create_connection(
                    lambda: ClientConnection(Pool("", self._wheel)),
                    address,
                    target.port,
                    ssl=tls,
                    server_hostname=target.host if tls is not None else None,
                )
            except OSError as exc:
                error = exc
            else:
                return connection
        raise error

    def _allows(self, address: str) -> bool:
        try:
            number = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return is_callable(number, allow_private=self._allow_private) and not is_here(number)


async def _look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _lines(agent: bytes, lease: Lease, answer: QueuedAnswer | None, took: float, attempts: int) -> list[bytes]:
    lines = [
        b"%b: %b" % (name, value)
        for name, value in (answer.fields if answer is not None else ())
        if name.lower() not in _OURS
    ]
    lines += [
        b"X-Call-Id: %b" % lease.call.id.encode(),
        b"X-Duration-Seconds: %.6f" % took,
        b"X-Function-Status: %d" % (answer.status if answer is not None else 503),
        b"X-Function-Name: %b" % str(lease.call.ref).encode(),
        b"User-Agent: %b" % agent,
    ]
    if lease.attempt > 1:
        lines += [b"X-Retry: %d" % lease.attempt, b"X-Retry-Max: %d" % attempts]
    return lines


def _message(target: str, host: str, lines: Sequence[bytes], body: bytes) -> bytes:
    head = [b"POST %b HTTP/1.1" % target.encode(), b"Host: %b" % host.encode(), *lines]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


def _path(parts: SplitResult) -> str:
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    return f"{path}?{parts.query}" if parts.query else path


def _name(text: str) -> tuple[str, str, str]:
    """`NAME`, `/` or `?` or nothing, and the rest."""
    for place, char in enumerate(text):
        if char in "/?":
            return text[:place], char, text[place + 1 :]
    return text, "", ""
