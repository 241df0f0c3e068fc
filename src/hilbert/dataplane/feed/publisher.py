"""The control process's end of the feed: sends every worker the route table, takes wake-ups and counters."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

import msgspec
import structlog

from hilbert.core.limits import ScopeShare, ScopeUse
from hilbert.core.model import Route
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.dataplane.feed.messages import (
    Applied,
    CallKeys,
    Delta,
    Entry,
    Hello,
    Levels,
    Resync,
    Shares,
    Snapshot,
    TurnedAway,
    Unframer,
    Up,
    Used,
    UsedKept,
    Wake,
    frame,
    route_digest,
)
from hilbert.dataplane.feed.totals import Totals

_LAGGING: Final = 64 * 1024 * 1024
"""Bytes waiting for one worker beyond which it is cut off; it comes back for a snapshot."""

_log = structlog.get_logger("hilbert.feed")


class Feed:
    """The route table as the workers are told of it. A `RouteSink`.

    Nothing is sent before the first `reset`: a worker must not take an empty table for the truth.
    Changes within one turn of the event loop travel as one delta.
    """

    def __init__(self, totals: Totals, on_wake: Callable[[FunctionRef], None]) -> None:
        self._totals = totals
        self._on_wake = on_wake
        self._epoch = secrets.token_hex(8)
        self._routes: dict[tuple[str, str], Route] = {}
        self._born: dict[tuple[str, str], int] = {}
        self._births = 0
        self._digests: dict[tuple[str, str], int] = {}
        self._digest = 0
        self._version = 0
        self._complete = False
        self._changed: dict[tuple[str, str], None] = {}
        self._flush_due = False
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._keys = b""
        self.on_turned_away: Callable[[TurnedAway], None] = lambda _calls: None
        """Called with calls that a worker has refused because of who made them."""
        self.on_used: Callable[[str, Used], None] = lambda _worker, _used: None
        """Called with what a worker, by its incarnation, reports of each call."""
        self.on_use: Callable[[str, Sequence[ScopeUse]], None] = lambda _worker, _uses: None

    @property
    def size(self) -> int:
        """Routes in the table."""
        return len(self._routes)

    @property
    def version(self) -> int:
        return self._version

    def enforcing(self) -> Sequence[str]:
        """Incarnations of the workers that are connected."""
        return [link.incarnation for link in self._links if link.incarnation]

    def share(self, worker: str, shares: Sequence[ScopeShare]) -> None:
        """Tell a worker its parts of limits."""
        data = frame(Shares(list(shares)))
        for link in self._links:
            if link.incarnation == worker:
                link.send(data)

    def tell_used_kept(self, worker: str, number: int) -> None:
        """What a worker has reported of calls, up to this message, is kept."""
        data = frame(UsedKept(number))
        for link in self._links:
            if link.incarnation == worker:
                link.tell(data)

    def tell_keys(self, keys: CallKeys) -> None:
        """Tell every worker, and those that come later, who may call functions that ask for it."""
        self._keys = frame(keys)
        for link in self._links:
            if link.incarnation:
                link.tell(self._keys)

    @property
    def keys(self) -> bytes:
        """As they are told; empty: nobody has said."""
        return self._keys

    async def start(self, sock: socket.socket) -> None:
        """Serve workers on a listening unix socket."""
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Link(self), sock=sock)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()

    def reset(self, routes: Iterable[Route]) -> None:
        before = self._routes
        self._routes = {route.key: route for route in routes}
        for key in before.keys() - self._routes.keys():
            self._die(key)
        if not self._complete:
            self._totals.retain(self._routes)
        for key in self._routes.keys() - before.keys():
            self._bear(key)
        self._digests = {key: route_digest(route) for key, route in self._routes.items()}
        self._digest = 0
        for digest in self._digests.values():
            self._digest ^= digest
        self._version += 1
        self._complete = True
        self._changed.clear()
        for link in self._links:
            link.send_snapshot()

    def put(self, route: Route) -> None:
        if self._routes.get(route.key) != route:
            if route.key not in self._routes:
                self._bear(route.key)
            self._routes[route.key] = route
            self._change(route.key, route_digest(route))

    def drop(self, ref: FunctionRef) -> None:
        key = (str(ref.namespace), str(ref.name))
        if self._routes.pop(key, None) is not None:
            self._change(key, 0)
            self._die(key)

    def _bear(self, key: tuple[str, str]) -> None:
        self._births += 1
        self._born[key] = self._births

    def _die(self, key: tuple[str, str]) -> None:
        """The function is gone, and what was counted of it: one made later under its name starts from zero."""
        self._born.pop(key, None)
        self._totals.forget(key)

    def _entry(self, key: tuple[str, str]) -> Entry:
        return Entry(self._born[key], self._routes[key])

    def _change(self, key: tuple[str, str], digest: int) -> None:
        self._digest ^= self._digests.pop(key, 0) ^ digest
        if digest:
            self._digests[key] = digest
        self._changed[key] = None
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self._changed or not self._complete:
            return
        put = [self._entry(key) for key in self._changed if key in self._routes]
        drop = [key for key in self._changed if key not in self._routes]
        self._changed.clear()
        self._version += 1
        data = frame(Delta(version=self._version, digest=self._digest, put=put, drop=drop))
        for link in self._links:
            link.send(data)

    def snapshot(self) -> Snapshot | None:
        """The whole table, or None while it is not known."""
        if not self._complete:
            return None
        self._flush()
        return Snapshot(self._epoch, self._version, self._digest, [self._entry(key) for key in self._routes])

    def joined(self, link: _Link) -> None:
        self._links.add(link)

    def left(self, link: _Link) -> None:
        self._links.discard(link)
        if link.incarnation:
            self._totals.retire(link.incarnation)

    def received(self, link: _Link, message: Up) -> None:
        match message:
            case Hello(incarnation=incarnation, index=index):
                link.incarnation = incarnation
                link.name = str(index)
                _log.debug("worker joined", worker=index)
                link.send_snapshot()
            case Resync():
                link.send_snapshot()
            case Wake(namespace=namespace, name=name):
                if (namespace, name) in self._routes:
                    self._on_wake(FunctionRef(NamespaceName(namespace), FunctionName(name)))
            case Applied(version=version):
                self._totals.applied(link.incarnation, version)
            case TurnedAway():
                self.on_turned_away(message)
            case Used():
                self.on_used(link.incarnation, message)
            case Levels():
                mine = message.epoch == self._epoch
                counted = [
                    route
                    for route in message.routes
                    if (born := self._born.get((route.namespace, route.name))) and (born == route.born or not mine)
                ]
                self._totals.update(link.incarnation, link.name, message, counted)
                if message.limits:
                    self.on_use(link.incarnation, message.limits)


class _Link(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._unframer = Unframer()
        self._decoder = msgspec.msgpack.Decoder(Up)
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self.incarnation = ""
        self.name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._feed.joined(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._feed.left(self)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                self._feed.received(self, self._decoder.decode(body))
        except (ValueError, msgspec.MsgspecError):
            _log.error("a worker sent an invalid message", exc_info=True)
            self.close()

    def send_snapshot(self) -> None:
        snapshot = self._feed.snapshot()
        if snapshot is not None and self.incarnation:
            if self._feed.keys:
                self._write(self._feed.keys)  # First, so that nobody who may call is refused for a moment.
            self._greeted = True
            self._write(frame(snapshot))

    def send(self, data: bytes) -> None:
        """Send a delta, if this worker has what it builds on."""
        if self._greeted:
            self._write(data)

    def tell(self, data: bytes) -> None:
        """Send what builds on nothing."""
        self._write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > _LAGGING:
            with contextlib.suppress(RuntimeError):
                self._transport.abort()
            return
        self._transport.write(data)
