"""A worker's end of the feed: keeps the table in step, sends wake-ups and counters, comes back when cut off."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Final, cast

import msgspec
import structlog

from hilbert.dataplane.feed.messages import (
    Applied,
    CallKeys,
    Delta,
    Down,
    Hello,
    Levels,
    Resync,
    Shares,
    Snapshot,
    Unframer,
    Up,
    UsedKept,
    Wake,
    frame,
)
from hilbert.dataplane.table import RouteState, Table
from hilbert.dataplane.turned_away import TurnedAwayCalls
from hilbert.dataplane.uses import Uses
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace

_RETRY: Final = Pace(first=0.02, most=1.0)
_REPORT_EVERY: Final = 1.0
"""Seconds between two reports under load."""
_REPORT_IDLE: Final = 5.0
"""Seconds between two reports of a worker that nobody calls."""
_REPORT_SOON: Final = 0.02
"""Seconds until the first report after a quiet time: whoever has just called wants to see it counted."""

_log = structlog.get_logger("hilbert.link")


class Link:
    """Follows the control process for as long as the worker lives."""

    def __init__(
        self,
        path: str,
        table: Table,
        *,
        index: int,
        on_change: Callable[[RouteState], None],
        on_gone: Callable[[RouteState], None],
        connections: Callable[[], int],
        on_keys: Callable[[CallKeys], None] = lambda _keys: None,
        uses: Uses | None = None,
        turned_away: TurnedAwayCalls | None = None,
    ) -> None:
        """`on_change` and `on_gone` are told of routes that may release or must refuse their waiting calls."""
        self._path = path
        self._table = table
        self._index = index
        self._on_change = on_change
        self._on_gone = on_gone
        self._on_keys = on_keys
        self._uses = uses
        self._turned_away = turned_away or TurnedAwayCalls()
        self._connections = connections
        self._incarnation = secrets.token_hex(8)
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._reporter: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        """Counters have changed."""
        table.on_changed = self._news.set
        self._drift = 0
        self.synced = asyncio.Event()
        """Set once a whole table has come."""

    def start(self) -> None:
        self._follower = spawn(self._stay_connected(), name="feed link")
        self._reporter = spawn(self._report_always(), name="counters")

    async def close(self) -> None:
        """Send the last counters and leave."""
        await cancel(self._reporter)
        transport = self._transport
        if transport is not None:
            self.report(everything=False)
            transport.close()  # Writes what is still to be written first.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._lost.wait()
        await cancel(self._follower)

    def wake(self, state: RouteState) -> None:
        """Ask for a replica. Lost while the control process is away; waiting calls ask again."""
        self._send(Wake(state.namespace, state.name))

    def report(self, *, everything: bool) -> bool:
        """Send counters: those that have changed, or all. Returns whether there were any."""
        if self._transport is None:
            return False
        table = self._table
        changed = table.take_changed()
        if everything:
            changed = [state for state in table.states() if state.counters.started]
        self._send(
            Levels(
                epoch=table.epoch,
                routes=[
                    state.counters.report(
                        state.namespace, state.name, born=state.born, waiting=len(state.waiting), busy=state.busy()
                    )
                    for state in changed
                ],
                drift=self._drift,
                version=self._table.version,
                size=len(self._table),
                connections=self._connections(),
                limits=table.take_used(),
            )
        )
        if (refused := self._turned_away.take()) is not None:
            self._send(refused)
        if self._uses is not None:
            for used in self._uses.take():
                self._send(used)
        return bool(changed)

    # The connection's side

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._lost.clear()
        self._send(Hello(self._incarnation, self._index))
        for used in self._uses.unkept() if self._uses is not None else ():
            self._send(used)
        self.report(everything=True)

    def disconnected(self) -> None:
        self._transport = None
        self._lost.set()

    def received(self, message: Down) -> None:
        table = self._table
        if isinstance(message, Shares):
            table.share(message.shares)
            return
        if isinstance(message, CallKeys):
            self._on_keys(message)
            return
        if isinstance(message, UsedKept):
            if self._uses is not None:
                self._uses.kept(message.number)
            return
        if isinstance(message, Snapshot):
            if table.complete and table.epoch == message.epoch and table.version == message.version:
                self._send(Applied(table.version))
                return
            for state in table.replace(message.routes, epoch=message.epoch, version=message.version):
                self._on_gone(state)
            for state in list(table.states()):
                if state.waiting:
                    self._on_change(state)
            self.synced.set()
        elif message.version == table.version + 1:
            self._apply(message)
        elif message.version > table.version:
            self._drifted("a delta is missing")
        if table.digest != message.digest and message.version == table.version:
            self._drifted("the digests differ")
        else:
            self._send(Applied(table.version))

    def _apply(self, delta: Delta) -> None:
        table = self._table
        for entry in delta.put:
            state, gone = table.put(entry)
            for other in gone:
                self._on_gone(other)
            if state.waiting:
                self._on_change(state)
        for key in delta.drop:
            dropped = table.drop(key)
            if dropped is not None:
                self._on_gone(dropped)
        table.version = delta.version

    def _drifted(self, why: str) -> None:
        self._drift += 1
        self._table.epoch = ""  # So that the snapshot is taken whatever its version.
        _log.error("route table drifted", reason=why)
        self._send(Resync())

    def _send(self, message: Up) -> None:
        if self._transport is not None:
            self._transport.write(frame(message))

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                transport, protocol = await asyncio.get_running_loop().create_unix_connection(
                    lambda: _Connection(self), self._path
                )
            except OSError:
                failures += 1
                await asyncio.sleep(_RETRY.delay(failures))
                continue
            failures = 0
            try:
                await protocol.lost.wait()
            finally:
                transport.abort()
            await asyncio.sleep(_RETRY.first)

    async def _report_always(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_IDLE):
                    await self._news.wait()
            await asyncio.sleep(_REPORT_SOON)
            self._news.clear()
            if self.report(everything=False):
                await asyncio.sleep(_REPORT_EVERY)


class _Connection(asyncio.Protocol):
    """One connection to the control process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._unframer = Unframer()
        self._decoder = msgspec.msgpack.Decoder(Down)
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link.connected(self._transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._link.disconnected()
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                self._link.received(self._decoder.decode(body))
        except (ValueError, msgspec.MsgspecError):
            _log.error("the control process sent an invalid message", exc_info=True)
            if self._transport is not None:
                self._transport.abort()
