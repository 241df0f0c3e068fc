"""Whose turn it is to take more of a namespace's quota: one change at a time, over all gateways.

Two changes that each fit and do not fit together must not both be counted against the same room. In one gateway a lock
keeps them apart; between gateways a Lease in the platform's namespace, which is there for as long as the change takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

import structlog

from hilbert.core.errors import BackendUnavailable
from hilbert.kit.aio import Clock, RealClock
from hilbert.kit.pace import Pace
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable, translated
from hilbert.providers.kubernetes.cluster.objects import Lease, Manifest

_log = structlog.get_logger("hilbert.kubernetes.quota")

LABEL: Final = "com.hilbert.turn"
"""On a Lease: the namespace whose turn it says. What has not got it is not ours."""
_LASTS: Final = 15.0
"""Seconds after which a turn that nobody has given back is taken away: its gateway has died."""
_PATIENCE: Final = 20.0
"""Seconds that a change waits for its turn among gateways."""
_PATIENCE_HERE: Final = 60.0
"""Seconds that it waits for others of this gateway, of which there may be many."""
_PACE: Final = Pace(first=0.02, most=0.5, jitter=0.5)


class Turns:
    """Turns of this gateway, and of the others."""

    def __init__(self, api: Api, platform: str, identity: str, *, clock: Clock | None = None) -> None:
        self._api = api
        self._platform = platform
        self._identity = identity
        self._clock = clock or RealClock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, namespace: str, needed: Callable[[], bool] = lambda: True) -> AsyncIterator[bool]:
        """Nobody else takes more of the namespace's quota inside the block. Raises `BackendUnavailable`.

        False: it is not `needed` any more, once others of this gateway have had theirs.
        """
        lock = self._locks.setdefault(namespace, asyncio.Lock())
        try:
            async with asyncio.timeout(_PATIENCE_HERE):
                await lock.acquire()
        except TimeoutError as exc:
            raise _busy(namespace) from exc
        try:
            if not needed():
                yield False
                return
            with translated():
                lease = await self._take(namespace)
            try:
                yield True
            finally:
                await self._give_back(lease)
        finally:
            lock.release()

    async def _take(self, namespace: str) -> Lease:
        name = f"hilbert-turn-{namespace}"
        manifest: Manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": self._platform, "labels": {LABEL: namespace}},
            "spec": {"holderIdentity": self._identity, "leaseDurationSeconds": int(_LASTS)},
        }
        began, tries, seen, since = self._clock.now(), 0, "", 0.0
        while True:
            try:
                return await self._api.create(kinds.LEASES, manifest, self._platform)
            except Refused as exc:
                if not exc.is_there_already:
                    raise
            there = await self._api.find(kinds.LEASES, name, self._platform)
            now = self._clock.now()
            if there is not None and there.labels.get(LABEL) == namespace:
                if there.spec.holder_identity == self._identity:
                    return there  # From a try whose answer was lost; in this process the lock is ours.
                if there.metadata.uid != seen:
                    seen, since = there.metadata.uid, now
                elif now - since >= _LASTS:
                    _log.warning("a turn was never given back", namespace=namespace, by=there.spec.holder_identity)
                    await self._api.delete(kinds.LEASES, name, self._platform, uid=seen)
                    continue
            if now - began >= _PATIENCE:
                raise _busy(namespace)
            tries += 1
            await self._clock.sleep(_PACE.delay(tries))

    async def _give_back(self, lease: Lease) -> None:
        name, uid = lease.metadata.name, lease.metadata.uid
        try:
            await self._api.delete(kinds.LEASES, name, self._platform, uid=uid)
        except (Refused, Unreachable) as exc:
            _log.info("a turn is taken away by whoever comes next", lease=name, reason=str(exc))


def _busy(namespace: str) -> BackendUnavailable:
    return BackendUnavailable(f"others are changing namespace {namespace} right now", hint="try again")
