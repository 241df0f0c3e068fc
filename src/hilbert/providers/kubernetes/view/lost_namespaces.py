"""Which of the listed namespaces of an installation without cluster-wide rights are gone, or closed to the gateway.

With a namespace go the rights in it: whatever is asked of it is refused from then on. It must not keep the gateway from
knowing the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from hilbert.kit.aio import cancel, spawn
from hilbert.providers.kubernetes.cluster.reflector import Reflector

_FORBIDDEN_FOR: Final = 60.0
"""Seconds of 403 after which a namespace counts as taken from us; an API server that has just started answers so, too."""
_FORBIDDEN_ALONE: Final = 5.0
"""The same, while the API server lets us read others."""


class LostNamespaces:
    """Once lost, a namespace no longer counts for whether the cluster has been read, also when it comes back."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._lost = {name: asyncio.Event() for name in listed}
        self._since: dict[str, float] = {}

    def is_set(self, name: str) -> bool:
        return name in self._lost and self._lost[name].is_set()

    async def or_synced(self, reflector: Reflector[Any]) -> None:
        """Until it has read its namespace, or that is lost."""
        lost = self._lost.get(reflector.namespace)
        if lost is None:
            await reflector.synced.wait()
            return
        waits = [spawn(one.wait(), name=f"sync {reflector.kind}") for one in (reflector.synced, lost)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*waits)

    def refused(self, name: str, now: float, *, others_answer: bool) -> bool:
        """Take in that it may not be read; says whether it counts as lost."""
        since = self._since.setdefault(name, now)
        if now - since >= (_FORBIDDEN_ALONE if others_answer else _FORBIDDEN_FOR):
            self._lost[name].set()
        return self._lost[name].is_set()

    def answered(self, name: str, *, is_there: bool) -> None:
        self._since.pop(name, None)
        if not is_there:
            self._lost[name].set()
