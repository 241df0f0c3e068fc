"""How a queued call reaches its function: as an ordinary call of the data plane, so that it waits for cold starts and
places, counts as traffic, and has the function's own limits."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from hilbert.control.delivery.request import DEPTH_FIELD, QueuedAnswer, QueuedRequest
from hilbert.core.ports.queue import Lease
from hilbert.core.values import FunctionRef
from hilbert.kit.http1 import ClientConnection, Headers, Pool, Response

MOST_KEPT: Final = 256 * 1024
"""Bytes of an answer that are kept, for its result, its call-back or its dead letter."""
DELIVERY_FIELD: Final = b"X-Hilbert-Delivery"
"""Proves to a worker that the gateway makes this call, and says for whom."""
NO_ROUTES: Final = b"no-route-table"
"""What a worker says that has just been started."""
INTERNAL: Final = b"x-openfaas-internal"


class Unreached(Exception):
    """No answer came: the gateway is away, or broke off."""


class GatewayAway(Unreached):
    """The call was not begun: no worker listens now."""


class Calls(Protocol):
    """Makes one call."""

    async def call(self, lease: Lease, request: QueuedRequest, *, attempts: int) -> QueuedAnswer:
        """The answer, whatever its status. Raises `Unreached`. Cancelling it ends the call."""
        ...


class GatewayCalls:
    """Calls through a gateway's own address. A queued call may run for hours: the function's own limits end it."""

    def __init__(self, pool: Pool, *, secret: str = "") -> None:
        """`secret` proves to the workers that the call is for whoever queued it; without one, it is the gateway's own."""
        self._pool = pool
        self._secret = secret.encode()

    async def call(self, lease: Lease, request: QueuedRequest, *, attempts: int) -> QueuedAnswer:
        del attempts
        return await ask_pool(
            self._pool, _head(lease, request, self._secret) + request.body, bodyless=request.method == "HEAD"
        )


async def ask_pool(pool: Pool, request: bytes, *, bodyless: bool = False) -> QueuedAnswer:
    """Send a whole request over a pool's connection. `bodyless`: it is a HEAD. Raises `Unreached`."""
    connection = pool.take_certain()
    if connection is None:
        try:
            connection = await pool.connect()
        except OSError as exc:
            raise GatewayAway(str(exc)) from exc
    answer = await ask(connection, request, bodyless=bodyless)
    if answer.field(b"x-hilbert-error") == NO_ROUTES:
        raise GatewayAway("the gateway does not know its functions yet")
    return answer


async def ask(connection: ClientConnection, request: bytes, *, bodyless: bool = False) -> QueuedAnswer:
    """Send a whole request over a connection that is free, and collect the answer. Raises `Unreached`."""
    answer = _Answer(connection)
    connection.request(request, answer, bodyless=bodyless, whole=True, chunked=False)
    try:
        return await answer.done
    finally:
        if not answer.whole:
            connection.cut()


class _Answer:
    """Collects one response; of its body the first `MOST_KEPT` bytes."""

    def __init__(self, connection: ClientConnection) -> None:
        self.done: asyncio.Future[QueuedAnswer] = asyncio.get_running_loop().create_future()
        self.whole = False
        """The connection has gone back to where it came from, or is lost."""
        self._connection = connection
        self._response = Response()
        self._body = bytearray()
        self._cut = False

    def on_inform(self, response: Response) -> None:
        """Of no use to a call that waits anyway."""

    def on_whole_response(self, response: Response, body: bytes) -> None:
        self.on_response(response)
        self.on_response_body(body)
        self.on_response_end([])

    def on_response(self, response: Response) -> None:
        self._response = response

    def on_response_body(self, data: bytes) -> None:
        room = MOST_KEPT - len(self._body)
        self._cut = self._cut or len(data) > room
        self._body += data[:room]

    def on_response_pause(self) -> None:
        """Nothing has to be told before the end."""

    def on_response_end(self, trailers: Headers) -> None:
        del trailers
        self.whole = True
        if not self.done.done():
            fields = tuple(self._response.headers)
            self.done.set_result(QueuedAnswer(self._response.status, fields, bytes(self._body), cut=self._cut))

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        del begun, reset
        self.whole = True
        if not self.done.done():
            self.done.set_exception(Unreached(reason))

    def on_upstream_deadline(self) -> None:
        """None is set."""

    def on_upstream_drain(self) -> None:
        """All of the request was given at once."""

    def on_upgraded(self, response: Response, early: bytes) -> None:
        """No upgrade was asked for: the connection counts it as malformed before this."""
        del response, early
        self._connection.cut()
        self.on_upstream_lost("the protocol was changed", begun=True, reset=False)


def _head(lease: Lease, request: QueuedRequest, secret: bytes) -> bytes:
    lines = [
        b"%b /function/%b%b HTTP/1.1" % (request.method.encode(), _path(lease.call.ref), request.target),
        b"Host: gateway",
        b"Content-Length: %d" % len(request.body),
        b"X-Call-Id: %b" % lease.call.id.encode(),
        b"%b: %d" % (DEPTH_FIELD, request.depth),
        *((proof(secret, request),) if secret else ()),
        *(b"%b: %b" % field for field in request.fields),
    ]
    return b"\r\n".join([*lines, b"", b""])


def proof(secret: bytes, request: QueuedRequest) -> bytes:
    """The line that says that the gateway makes this call, for whoever queued that one."""
    caller = next((value for name, value in reversed(request.fields) if name.lower() == b"x-forwarded-for"), b"")
    return b"%b: %b %b" % (DELIVERY_FIELD, secret, caller)


def _path(ref: FunctionRef) -> bytes:
    return f"{ref.name}.{ref.namespace}".encode()
