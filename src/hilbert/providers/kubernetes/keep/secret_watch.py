"""Secrets that are changed with `kubectl`, or by anybody else: the leading gateway tells the Pods that mount them.

A node looks for changed secrets by itself about every minute or two. A Pod that changes makes it look at once.
Names and versions of secrets are watched; their values never come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from hilbert.core.values import whole_or
from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import Object, Pod
from hilbert.providers.kubernetes.cluster.reflector import Key, Reflector
from hilbert.providers.kubernetes.keep.upkeep_queue import UpkeepQueue
from hilbert.providers.kubernetes.view.state import State

_log = structlog.get_logger("hilbert.kubernetes.secrets")

_AT_ONCE: Final = 16
"""Pods that are told of a changed secret at the same time."""
_SOON: Final = 0.5
"""Seconds until Pods are told: whoever changed a secret through the API tells them itself, and this comes to know of it."""
_FIELDS: Final = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
"""Functions may have none of these, and a cluster has many."""


async def tell_pods(api: Api, state: State, namespace: str, secret: str, version: str) -> None:
    """Tell each Pod that mounts the secret of its version, unless somebody has. Where it fails, the node looks later."""
    pods = [
        pod
        for key in state.keys(namespace)
        if secret in state.secrets_of(key)
        for pod in state.pods(key)
        if pod.metadata.deletion_timestamp is None
        and whole_or(pod.annotations.get(names.ANNOTATION_SECRETS), 0) < whole_or(version, 1)
    ]
    change = {"metadata": {"annotations": {names.ANNOTATION_SECRETS: version}}}
    turns = asyncio.Semaphore(_AT_ONCE)

    async def tell(pod: Pod) -> None:
        async with turns:
            try:
                await api.patch(kinds.PODS, pod.metadata.name, change, pod.metadata.namespace)
            except (Refused, Unreachable) as exc:
                _log.info("a node looks for the changed secret later", pod=pod.metadata.name, reason=str(exc))

    await asyncio.gather(*(tell(pod) for pod in pods))


class SecretWatch:
    """`start` it while leading, `stop` it when not. What changes while nobody leads is left to the nodes."""

    def __init__(self, api: Api, state: State, clock: Clock) -> None:
        self._api = api
        self._state = state
        self._clock = clock
        self._queue: UpkeepQueue[Key] = UpkeepQueue(self._process, name="secrets", workers=4)
        self._reflectors: Sequence[Reflector[Object]] = ()
        self._tasks: list[asyncio.Task[None]] = []
        self.waiting: dict[Key, bool] = {}
        """Changed secrets of which Pods are still to be told, and whether they have been waited for."""

    @property
    def is_watching(self) -> bool:
        return bool(self._reflectors) and all(one.synced.is_set() and not one.failure for one in self._reflectors)

    def failure(self) -> str:
        """Why nothing is heard of changes; empty when they are."""
        lost = self._state.lost()
        return next((one.failure for one in self._reflectors if one.failure and one.namespace not in lost), "")

    def start(self) -> None:
        self._queue.start()
        self._reflectors = [self._reflect(namespace) for namespace in self._state.listed or ("",)]
        self._tasks = [spawn(one.run(), name=f"watch secrets {one.namespace}".rstrip()) for one in self._reflectors]

    async def stop(self) -> None:
        await cancel(*self._tasks)
        self._tasks, self._reflectors = [], ()
        await self._queue.stop()
        self.waiting.clear()

    def _reflect(self, namespace: str) -> Reflector[Object]:
        def changed(key: Key, _old: Object | None, new: Object | None) -> None:
            # The first list is what Pods have already. One that is gone takes no file away.
            if new is not None and reflector.synced.is_set() and self._state.tenant(key[0]) is not None:
                self.waiting.setdefault(key, False)
                self._queue.add(key)

        reflector: Reflector[Any] = Reflector(
            self._api, kinds.SECRET_NAMES, changed, namespace=namespace, fields=_FIELDS, clock=self._clock
        )
        return reflector

    async def _process(self, key: Key) -> float | None:
        if not self.waiting.get(key, True):
            self.waiting[key] = True
            return _SOON
        found = next((item for one in self._reflectors if (item := one.get(key)) is not None), None)
        if found is not None:
            await tell_pods(self._api, self._state, *key, found.metadata.resource_version)
        self.waiting.pop(key, None)
        return None
