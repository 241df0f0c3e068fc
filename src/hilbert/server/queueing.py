"""Queued calls in the control process: the queue, who accepts, who delivers, and who fires schedules, put together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import structlog

import hilbert
from hilbert.control.delivery.callbacks import HttpCallBacks
from hilbert.control.delivery.calling import GatewayCalls
from hilbert.control.delivery.dispatcher import DeliverySettings, Dispatcher
from hilbert.control.delivery.intake import FullQueue, Intake
from hilbert.control.delivery.retries import RetryPolicy
from hilbert.control.delivery.room import Rooms
from hilbert.control.delivery.signing import key_of
from hilbert.control.schedules.firing import Firing
from hilbert.core.errors import HilbertError
from hilbert.core.ports import Leader, Namespaces, Provider
from hilbert.core.ports.queue import QueueBounds
from hilbert.core.settings import QueueSettings
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1 import Pool, TimerWheel
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff

_EXPIRE_EVERY: Final = 60.0
"""Seconds between two looks for what need not be kept any more."""
_STORE_PACE: Final = Pace(first=0.1, most=10.0)
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a gateway that listens everywhere is reached

_log = structlog.get_logger("hilbert.queueing")


class Queueing:
    """One control process's part in queued calls."""

    def __init__(
        self,
        queue: FullQueue,
        provider: Provider,
        settings: QueueSettings,
        *,
        leader: Leader,
        url: str,
        secret: str,
    ) -> None:
        """`leader` delivers, of several gateways. `url` is where the workers listen; `secret` proves to them who makes a call."""
        self._queue = queue
        self._provider = provider
        self._wheel = TimerWheel()
        self._gateway = Pool(f"tcp:{_address(url)}", self._wheel)
        self._leader = leader
        self._rooms = Rooms(provider, bounds_of(settings))
        self.dispatcher = Dispatcher(
            queue,
            GatewayCalls(self._gateway, secret=secret),
            annotations=self._rooms.annotations,
            leader=leader,
            callbacks=HttpCallBacks(
                self._gateway,
                self._wheel,
                version=hilbert.__version__,
                allow_private=settings.private_callbacks,
                key_of=self._key_of,
                secret=secret,
            ),
            settings=DeliverySettings(
                slots=settings.slots,
                namespace_slots=settings.namespace_slots,
                function_slots=settings.function_slots,
                retry=RetryPolicy(
                    attempts=settings.attempts,
                    min_wait=settings.min_wait.seconds,
                    max_wait=settings.max_wait.seconds,
                ),
            ),
        )
        self.intake = Intake(
            queue, rooms=self._rooms, accepted=self.dispatcher.poke, cancelled=self.dispatcher.break_off
        )
        self.firing = (
            Firing(queue, provider, leader=leader, rooms=self._rooms, accepted=self.dispatcher.poke)
            if settings.schedules
            else None
        )

    @contextlib.asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliver while the block runs. Begin once the routes are known."""
        beginning = spawn(self._begin(), name="begin to deliver")
        expiring = spawn(self._expire(), name="expire queued calls")
        try:
            yield
        finally:
            await cancel(beginning, expiring)
            if self.firing is not None:
                await self.firing.stop()
            await self.dispatcher.stop()
            self._gateway.close()
            self._wheel.close()

    async def _begin(self) -> None:
        """As soon as the queue answers: where it is kept elsewhere, it may come later than this gateway."""
        backoff = Backoff(_STORE_PACE)
        while True:
            try:
                if isinstance(self._provider, Namespaces):
                    await self.intake.catch_up(self._namespaces)
                break
            except HilbertError as exc:
                _log.warning("queued calls are not delivered yet", reason=exc.message, detail=exc.detail)
                await asyncio.sleep(backoff.failed())
        self.dispatcher.start()
        if self.firing is not None:
            self.firing.start()

    async def _namespaces(self) -> Sequence[NamespaceName]:
        assert isinstance(self._provider, Namespaces)  # noqa: S101 - asked of no others
        return [found.name for found in await self._provider.list_namespaces()]

    async def _key_of(self, ref: FunctionRef) -> bytes | None:
        return await key_of(self._provider, ref, *await self._rooms.annotations(ref))

    async def _expire(self) -> None:
        while True:
            try:
                if self._leader.leads:
                    await self._queue.expire(now=time.time())
            except HilbertError as exc:
                _log.warning("old calls could not be deleted yet", reason=exc.message, detail=exc.detail)
            await asyncio.sleep(_EXPIRE_EVERY)


def bounds_of(settings: QueueSettings) -> QueueBounds:
    """How much may be kept where no annotation says otherwise."""
    return QueueBounds(
        function_calls=settings.function_calls,
        function_bytes=settings.function_bytes.units,
        namespace_calls=settings.namespace_calls,
        namespace_bytes=settings.namespace_bytes.units,
    )


def _address(url: str) -> str:
    """`HOST:PORT` at which this machine reaches the gateway."""
    parts = urlsplit(url)
    host = _ANY.get(parts.hostname or "", parts.hostname or "127.0.0.1")
    return f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}"
