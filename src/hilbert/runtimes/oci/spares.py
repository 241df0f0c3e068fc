"""Spare networks: made ahead, each with a process in it that knows nothing of any function and waits to become a replica.

To make a network is most of an image's start: the kernel waits for all processors when an interface is made and when rules are
put in force. Each is used once. A spare ends with the launcher, whose end of its socket is closed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import structlog

from hilbert.core.errors import StartFailed
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.process import has_ended
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.oci.launch import Launching
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.bwrap import child_of
from hilbert.runtimes.replica.lull import Lull

_PREFIX: Final = "spare-image-"

_log = structlog.get_logger("hilbert.images")


class SpareNetwork(msgspec.Struct, kw_only=True):
    """One that waits."""

    name: str
    """As which its network is known to the keeper."""
    pid: int
    process: int
    """A pidfd of `pid`."""


class SpareNetworks:
    """`close` it at the end: what nobody has moved into ends."""

    def __init__(
        self, launching: Launching, network: Network, *, most: int, order: Callable[[str], Attach | None]
    ) -> None:
        """`most` wait at a time. `order` gives the network of most replicas, for a name; None: there are no spares."""
        self._launching = launching
        self._network = network
        self._most = most
        self.usual_network = order
        self._waiting: list[SpareNetwork] = []
        self._task: asyncio.Task[None] | None = None
        self._lull = Lull()

    async def close(self) -> None:
        self._most = 0
        await cancel(self._task)
        while self._waiting:
            self._discard(self._leave(self._waiting[0]))

    @property
    def waiting(self) -> int:
        """How many are ready."""
        return len(self._waiting)

    def want(self) -> None:
        """A replica may be started soon, or has been: see to it that there are spares, once no more are started for a moment."""
        self._lull.stir()
        if self._task is None and len(self._waiting) < self._most and self.usual_network(_PREFIX) is not None:
            self._task = spawn(self._fill(), name="spare networks")

    @contextlib.contextmanager
    def taken(self, order: Attach | None) -> Iterator[SpareNetwork | None]:
        """One with exactly that network, to be moved into; it ends if this is left with an error."""
        spare = self._take(order)
        try:
            yield spare
        except BaseException:
            if spare is not None:
                self._discard(spare)
            raise
        if spare is not None:
            os.close(spare.process)

    def _take(self, order: Attach | None) -> SpareNetwork | None:
        usual = None if order is None else self.usual_network(order.replica)
        if order is None or usual is None or msgspec.structs.replace(usual, namespace=order.namespace) != order:
            return None
        while self._waiting:
            found = self._leave(self._waiting[0])
            if not has_ended(found.process):
                return found
            self._discard(found)
        return None

    def _discard(self, spare: SpareNetwork) -> None:
        self._network.forget(spare.name)
        proc.send(spare.process, signal.SIGKILL)
        os.close(spare.process)

    async def _fill(self) -> None:
        try:
            while len(self._waiting) < self._most:
                await self._lull.come()
                spare = await self._make()
                self._waiting.append(spare)
                asyncio.get_running_loop().add_reader(spare.process, self._ended, spare)
        except (StartFailed, OSError) as exc:
            why = exc.detail or exc.message if isinstance(exc, StartFailed) else str(exc)
            _log.warning("a spare network could not be made", reason=why)
        finally:
            self._task = None

    def _ended(self, spare: SpareNetwork) -> None:
        self._discard(self._leave(spare))

    def _leave(self, spare: SpareNetwork) -> SpareNetwork:
        """It waits no more."""
        self._waiting.remove(spare)
        asyncio.get_running_loop().remove_reader(spare.process)
        return spare

    async def _make(self) -> SpareNetwork:
        """Raises `StartFailed` and `OSError`."""
        name = f"{_PREFIX}{secrets.token_hex(4)}"
        order = self.usual_network(name)
        if order is None:
            raise StartFailed("replicas have no network of their own")
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                pid = await self._launching.spare(write)
            finally:
                os.close(write)
            process = proc.open_process(pid, proc.start_time(pid))
            if process is None:
                raise ProcessLookupError(pid)
            spare = SpareNetwork(name=name, pid=pid, process=process)
            try:
                await child_of(read)
                await self._network.attach(order, pid, process)
            except BaseException:
                self._discard(spare)
                raise
        finally:
            os.close(read)
        return spare
