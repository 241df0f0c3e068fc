"""Pods that wait for a secret that is gone.

A Pod whose secret cannot be mounted stays in `ContainerCreating`, and its status does not say why; only events do, which
are kept for an hour and may be dropped. So once a Pod has waited for longer than a start takes, its function's secrets
are looked up.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.view.state import State
from hilbert.providers.kubernetes.view.status import is_creating

_PATIENCE: Final = 1.0
"""Seconds that a Pod may wait before its secrets are looked up."""
_AGAIN: Final = Pace(first=1.0, most=10.0)
"""Between two looks. The kubelet's own tries are up to two minutes apart."""
_AT_ONCE: Final = 8
_MOST: Final = 200
"""Functions that are looked after at the same time; of more, the status says no reason."""


class MissingSecrets:
    """`start` it and `stop` it; what it finds out goes to `state`."""

    def __init__(self, api: Api, state: State, clock: Clock) -> None:
        self._api = api
        self._state = state
        self._clock = clock
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def start(self) -> None:
        self._state.on_function.append(self._look)

    async def stop(self) -> None:
        if self._look in self._state.on_function:
            self._state.on_function.remove(self._look)
        await cancel(*self._tasks.values())

    def _look(self, key: Key) -> None:
        if key in self._tasks or len(self._tasks) >= _MOST or not self._wait(key):
            return
        task = spawn(self._watch(key), name=f"secrets of {key[1]}.{key[0]}")
        self._tasks[key] = task
        task.add_done_callback(lambda _task: self._tasks.pop(key, None))

    def _wait(self, key: Key) -> bool:
        """Whether a Pod of the function waits for what may be a secret."""
        return bool(self._state.secrets_of(key)) and any(map(is_creating, self._state.pods(key)))

    async def _watch(self, key: Key) -> None:
        """Until no Pod of the function waits any more."""
        looks = 0
        await self._clock.sleep(_PATIENCE)
        try:
            while self._wait(key):
                async with self._turns:
                    self._state.lacks(key, await self._missing(key))
                looks += 1
                await self._clock.sleep(_AGAIN.delay(looks))
        finally:
            self._state.lacks(key, "")

    async def _missing(self, key: Key) -> str:
        """The first that is not there; empty if all are, or nobody can tell."""
        for name in self._state.secrets_of(key):
            try:
                if await self._api.find(kinds.SECRETS, name, key[0]) is None:
                    return name
            except (Refused, Unreachable):
                return ""
        return ""
