"""Calls that functions make to `http://gateway:8080`, from networks of their own.

Their connections come from the provider over a unix socket, each with the name of the namespace that it was made in: not
the caller says who it is, but the network that its connection comes from.

- `/function/NAME` is a function of the caller's own namespace; another namespace's only by its full name, and only where
  that one lets itself be called (`Route.open`).
- `/async-function/NAME` queues a call of the same functions; a call can be cancelled by its id.
- `/system/` needs credentials even to be asked. The gateway's public keys are there for watchdogs, and nothing else of the
  platform.
- All of a namespace's connections together are bounded, as a client's are outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hilbert.dataplane import failures, headers
from hilbert.dataplane.gates import Gate, connect, disconnect
from hilbert.dataplane.passage import Refused
from hilbert.dataplane.proxy import Proxy
from hilbert.dataplane.table import Table
from hilbert.kit import handover
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1 import Accept, Handler, Request, Responder, ServerConnection
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff

_RETRY: Final = Pace(first=0.1, most=2.0)
"""Seconds between two attempts to reach the provider's side, which may not be there at all."""
SHARE: Final = 8
"""One namespace may have an eighth of a worker's connections, all of them together half."""
_LEAST: Final = 16
_KEYS: Final = frozenset({b"/.well-known/openid-configuration", b"/.well-known/jwks.json"})
"""Public keys, by which a function's own watchdog knows the gateway's tokens."""
_queued: Final = re.compile(rb"/async-function/([^/?]+)(.*)", re.DOTALL).fullmatch


class Inside:
    """A worker's end: takes connections for as long as it is open."""

    def __init__(
        self,
        path: Path,
        proxy: Proxy,
        table: Table,
        *,
        most: int,
        system: bool,
        make: Callable[[Accept, bytes, Callable[[], None]], ServerConnection],
    ) -> None:
        """`most` is the worker's own bound on connections. `system`: the REST API asks for credentials, so may be asked.

        `make` makes a connection from what accepts its requests, the caller's address, and what is called at its end.
        """
        self._path = path
        self._proxy = proxy
        self._table = table
        self._one_most = max(_LEAST, most // SHARE)
        self._all_most = max(_LEAST, most // 2)
        self._system = system
        self._make = make
        self._open: Counter[bytes] = Counter()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = spawn(self._run(), name="calls from inside")

    async def close(self) -> None:
        """Take no more; those that are there go on."""
        await cancel(self._task)

    async def _run(self) -> None:
        backoff = Backoff(_RETRY)
        while True:
            try:
                link = handover.connect(self._path)
            except OSError:
                await backoff.wait(backoff.failed())
                continue
            backoff.succeeded()
            with link:
                await self._take_all(link)

    async def _take_all(self, link: socket.socket) -> None:
        """Until the other side is gone."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def take() -> None:
            try:
                namespace, descriptors = handover.receive(link)
            except BlockingIOError:
                return
            except OSError:
                namespace, descriptors = b"", []
            if not namespace:
                handover.close(descriptors)
                loop.remove_reader(link.fileno())
                gone.set()
            for descriptor in descriptors:
                self._take(namespace, socket.socket(fileno=descriptor))

        loop.add_reader(link.fileno(), take)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(link.fileno())

    def _take(self, namespace: bytes, client: socket.socket) -> None:
        if self._open[namespace] >= self._one_most or self._open.total() >= self._all_most:
            client.close()
            return
        gates = self._table.gate_of(namespace.decode("ascii"))
        if connect(gates) is not None:
            client.close()
            return
        self._open[namespace] += 1
        client.setblocking(False)
        spawn(self._serve(namespace, client, gates), name="connection from inside")

    async def _serve(self, namespace: bytes, client: socket.socket, gates: tuple[Gate, ...]) -> None:
        def lost() -> None:
            disconnect(gates)
            self._open[namespace] -= 1
            if not self._open[namespace]:
                del self._open[namespace]

        caller = Caller(namespace, self._proxy, self._table, system=self._system)
        connection = self._make(caller.accept, caller.address, lost)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, client)
        except OSError:
            with contextlib.suppress(OSError):
                client.close()
            connection.connection_lost(None)


class Caller:
    """What functions of one namespace may ask for."""

    def __init__(self, namespace: bytes, proxy: Proxy, table: Table, *, system: bool) -> None:
        self._suffix = b"." + namespace
        self._proxy = proxy
        self._table = table
        self._system = system
        # Between the loopback's own addresses, so that it is nobody else's: for logs, and for what is counted by source.
        digest = hashlib.sha256(namespace).digest()
        self.address = b"127.%d.%d.%d:0" % (64 | digest[0] & 63, digest[1], digest[2])

    def accept(self, request: Request, responder: Responder) -> Handler:
        """The entry of a request from inside."""
        incoming: headers.Incoming = request.derived or headers.incoming(request)
        segment = incoming.segment
        if segment is None:
            return self._beside(request, responder, incoming)
        if b"." not in segment:
            segment += self._suffix
        state = self._table.by_segment.get(segment)
        if state is not None and (state.open or segment.endswith(self._suffix)):
            return self._proxy.call(request, responder, incoming, state)
        return self._proxy.refuse(request, responder, incoming, segment)

    def _queue(
        self, request: Request, responder: Responder, incoming: headers.Incoming, segment: bytes, rest: bytes
    ) -> Handler:
        if request.method == b"DELETE":  # By an id that nobody could guess.
            return self._proxy.to_control(request, responder, incoming)
        if b"." not in segment:
            segment += self._suffix
        state = self._table.by_segment.get(segment)
        if state is None or not (state.open or segment.endswith(self._suffix)):
            return self._proxy.refuse(request, responder, incoming, segment)
        path = b"/async-function/%b%b" % (segment, rest)
        return self._proxy.to_control(request, responder, headers.aimed(incoming, request.method, path))

    def _beside(self, request: Request, responder: Responder, incoming: headers.Incoming) -> Handler:
        path = incoming.path.partition(b"?")[0]
        queued = _queued(incoming.path)
        if queued is not None and request.method in (b"POST", b"DELETE"):
            return self._queue(request, responder, incoming, queued[1], queued[2])
        if path in _KEYS and request.method in (b"GET", b"HEAD"):
            return self._proxy.to_control(request, responder, incoming)
        if not path.startswith(b"/system/") or b".." in path or not self._system:
            return Refused(request, responder, incoming, failures.NOT_INSIDE)
        if not any(name.lower() == b"authorization" for name, _ in request.headers):
            return Refused(request, responder, incoming, failures.CREDENTIALS)
        return self._proxy.to_control(request, responder, incoming)
