"""A worker process: `python -m hilbert.dataplane.worker FD`, started by the supervisor with its configuration at FD."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog
import uvloop

from hilbert.dataplane import headers
from hilbert.dataplane.admission import Admission
from hilbert.dataplane.config import WorkerConfig
from hilbert.dataplane.failures import HEADER, INTERNAL
from hilbert.dataplane.feed.subscriber import Link
from hilbert.dataplane.forwarded import TrustedProxies
from hilbert.dataplane.guard import Guard
from hilbert.dataplane.inside import Inside
from hilbert.dataplane.places import Places
from hilbert.dataplane.proxy import Proxy
from hilbert.dataplane.table import Table
from hilbert.dataplane.turned_away import TurnedAwayCalls
from hilbert.dataplane.uses import Uses
from hilbert.dataplane.waiting import WaitingRoom
from hilbert.kit import log
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1 import Accept, Headers, Limits, Outbox, Pool, ServerConnection, TimerWheel
from hilbert.kit.http1.heads import Heads
from hilbert.kit.inside import Dialer
from hilbert.kit.lifeline import Lifeline
from hilbert.kit.process import take_descriptors

_SYNC_WITHIN: Final = 5.0
"""Seconds that a new worker waits for a route table before it takes calls without one, to say what is wrong."""

_LAST_REQUEST_WITHIN: Final = 1.0
"""Seconds that idle connections stay open for one more request while the worker drains."""

_log = structlog.get_logger("hilbert.worker")


_GC_THRESHOLDS: Final = (20_000, 20, 20)
"""A call leaves no circle behind, so the collector has little to find and need not look at every 700th object."""


class Worker:
    """Serves one listening socket until it is told to stop."""

    def __init__(self, config: WorkerConfig, lifeline: Lifeline) -> None:
        self._config = config
        self._lifeline = lifeline
        gateway = config.settings.gateway
        self._wheel = TimerWheel()
        trusted = TrustedProxies(gateway.trusted_proxies)
        self._admission = Admission(
            most=gateway.max_connections,
            most_of_source=gateway.max_source_connections,
            descriptors=take_descriptors(),  # Each connection is one, on both sides.
            trusted=trusted,
        )
        self._outbox = Outbox(self._wheel.loop)
        self._control = Pool(f"unix:{config.control_path}", self._wheel, outbox=self._outbox)
        crowded = self._admission.crowded
        self._dialer = Dialer()
        self._table = Table(
            config.settings.provider.default_namespace,
            lambda address: Pool(address, self._wheel, crowded=crowded, dialer=self._dialer, outbox=self._outbox),
            workers=config.workers,
        )
        room = WaitingRoom(
            self._wheel.loop, wake=lambda state: self._link.wake(state), max_bytes=gateway.max_waiting_bytes.units
        )
        guard = Guard()
        turned_away = TurnedAwayCalls()
        uses = Uses() if config.settings.usage.webhook_url else None
        self._proxy = Proxy(
            self._table,
            self._wheel,
            self._control,
            room=room,
            trusted=trusted,
            admission=self._admission,
            tunnels=Places(gateway.max_tunnels or max(1, self._admission.most // 2)),
            api_calls=Places(gateway.max_api_calls),
            access_log=gateway.access_log,
            max_api_body=gateway.max_api_body.units,
            functions_domain=gateway.functions_domain,
            delivery_secret=config.delivery_secret,
            guard=guard,
            uses=uses,
            turned_away=turned_away,
        )
        self._link = Link(
            config.feed_path,
            self._table,
            index=config.index,
            on_change=room.release,
            on_gone=room.gone,
            connections=lambda: len(self._admission),
            on_keys=guard.learn,
            uses=uses,
            turned_away=turned_away,
        )
        self._limits = Limits(
            head=gateway.max_header_bytes,
            lines=gateway.max_header_lines,
            body=gateway.max_body.units,
            head_time=gateway.read_timeout.seconds,
            body_time=gateway.read_timeout.seconds,
            write_time=gateway.write_timeout.seconds,
            keep_alive=gateway.keep_alive_timeout.seconds,
        )
        self._heads = Heads(self._limits, headers.sort)
        self._forwarded_heads = Heads(self._limits, headers.sort)
        """Of requests that come through trusted proxies: other things are made of them."""
        self._stop = asyncio.Event()
        self._inside = Inside(
            Path(config.inside_path),
            self._proxy,
            self._table,
            most=gateway.max_connections,
            system=gateway.basic_auth,
            make=self._connection_from_inside,
        )
        self._limit = 0.0
        """Seconds that calls have which are under way when it stops."""
        self._limited_at = 0.0
        """When that began, by the event loop's clock."""

    async def run(self) -> None:
        """Serve until told to stop, then finish what is under way.

        `SIGTERM`: within `gateway.drain_timeout`. `SIGHUP`: a successor serves already, so calls may take as long as
        `gateway.handover_timeout`.
        """
        loop = asyncio.get_running_loop()
        gateway = self._config.settings.gateway
        loop.add_signal_handler(signal.SIGTERM, self._end, gateway.drain_timeout.seconds)
        loop.add_signal_handler(signal.SIGHUP, self._end, gateway.handover_timeout.seconds)
        self._link.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SYNC_WITHIN):
                await self._link.synced.wait()
        sock = socket.socket(fileno=self._config.listen_fd)
        server = await loop.create_server(self._connect, sock=sock, backlog=4096)
        if self._config.inside_path:
            self._inside.start()
        self._lifeline.ready()
        heartbeat = spawn(self._lifeline.keep_beating(), name="heartbeat")
        # What is there now stays for good: keep the collector from looking at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        _log.info("worker ready", worker=self._config.index, routes=len(self._table))
        await self._stop.wait()
        await self._drain(server)
        await cancel(heartbeat)

    def _end(self, limit: float) -> None:
        self._limit = limit
        self._limited_at = asyncio.get_running_loop().time()
        self._stop.set()

    def _connect(self) -> ServerConnection:
        return ServerConnection(
            self._proxy.accept,
            self._limits,
            self._wheel,
            refuse=_refuse,
            on_made=self._made,
            on_lost=self._admission.left,
            heads=self._heads,
            outbox=self._outbox,
            half_close=False,  # Nothing else tells that a client which waits for an answer has gone.
        )

    def _made(self, connection: ServerConnection) -> None:
        reason = self._admission.admit(connection)
        if reason:
            connection.turn_away(_TURNED_AWAY, reason.encode() + b"\n")
        elif self._admission.trusts(connection):
            connection.hand_to(self._proxy.accept_forwarded, self._forwarded_heads)

    def _connection_from_inside(self, accept: Accept, address: bytes, lost: Callable[[], None]) -> ServerConnection:
        """What `address` says takes the place of where the connection comes from: each replica has a loopback of its own."""

        def made(connection: ServerConnection) -> None:
            connection.peer = address
            if reason := self._admission.admit(connection):
                connection.turn_away(_TURNED_AWAY, reason.encode() + b"\n")

        def gone(connection: ServerConnection) -> None:
            self._admission.left(connection)
            lost()

        return ServerConnection(
            accept,
            self._limits,
            self._wheel,
            refuse=_refuse,
            on_made=made,
            on_lost=gone,
            heads=self._heads,
            outbox=self._outbox,
            half_close=False,
        )

    async def _drain(self, server: asyncio.AbstractServer) -> None:
        """Take no more connections, answer what is under way, leave."""
        server.close()
        await self._inside.close()
        for connection in self._admission.connections:
            connection.retire()
        # A client may just be sending a request on an idle connection: it gets its answer, with `Connection: close`.
        await self._empty(_LAST_REQUEST_WITHIN)
        for connection in self._admission.connections:
            connection.drain()
        await self._empty()
        if left := len(self._admission):
            _log.warning("calls cut off", worker=self._config.index, connections=left, after=self._limit)
            self._lifeline.cut(
                f"calls on {left} connection{'s' * (left > 1)}, which had not ended after {self._limit:g} s"
            )
        await self._link.close()
        self._table.close()
        self._dialer.close()
        self._control.close()
        self._wheel.close()

    async def _empty(self, most: float = float("inf")) -> None:
        """Wait until no connection is left, at most `most` seconds, and no longer than the limit, which may change."""
        loop = asyncio.get_running_loop()
        end = loop.time() + most
        # Polled: connections come to their end in many ways, and this happens once in a worker's life.
        while len(self._admission) and loop.time() < min(end, self._limited_at + self._limit):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _refuse(status: int, reason: str) -> tuple[Headers, bytes]:
    """The answer to what is no acceptable HTTP request."""
    del status
    return [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (INTERNAL, b"gateway"),
        (HEADER, b"bad-request"),
    ], reason.encode() + b"\n"


_TURNED_AWAY: Final = [
    (b"Content-Type", b"text/plain; charset=utf-8"),
    (INTERNAL, b"gateway"),
    (HEADER, b"too-many-connections"),
    (b"Retry-After", b"1"),
]


def main(argv: list[str]) -> None:
    with os.fdopen(int(argv[1]), "rb") as document:
        config = msgspec.json.decode(document.read(), type=WorkerConfig)
    lifeline = Lifeline(config.lifeline_fd)
    log.configure(level=config.settings.log.level, form=config.settings.log.form)

    async def serve() -> None:
        await Worker(config, lifeline).run()

    uvloop.run(serve())


if __name__ == "__main__":
    main(sys.argv)
