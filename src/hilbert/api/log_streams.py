"""How many logs are read at once: each reader holds a connection, a file for each replica, and some lines."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final, TypeVar

from hilbert.core.errors import Overloaded
from hilbert.core.values import NamespaceName

SHARE: Final = 8
"""Readers may be an eighth of the descriptors that the process may have: the rest of the API goes on without them."""
MOST: Final = 256
"""No more than these, however many descriptors there are: all of them are told of each line by one process."""

PART: Final = 4
"""Of those, one namespace may have a quarter, and so may one caller."""
RATE: Final = 8 << 20
"""Bytes a second that all readers of one namespace's logs get: to write them keeps the process busy that answers everybody else, too."""
BURST: Final = 4 << 20
"""Bytes that come at once after a pause: the log of a replica."""
_RETRY_AFTER: Final = 5.0
K = TypeVar("K", NamespaceName, str)
_HINT: Final = "stop a 'hilbert logs' that is no longer needed"


class LogStreams:
    """Counts the logs that are being read."""

    def __init__(self) -> None:
        self.most = max(1, min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE))
        self._namespaces: Counter[NamespaceName] = Counter()
        self._callers: Counter[str] = Counter()
        self._due: dict[NamespaceName, float] = {}
        """When what was sent of a namespace's logs would have been sent at the rate that it has."""

    def check(self, namespace: NamespaceName, caller: str) -> None:
        """Raises `Overloaded` when there is no room for one more."""
        part = max(1, self.most // PART)
        if self._namespaces.total() >= self.most:
            raise Overloaded(
                f"the gateway is already sending as many logs as it can ({self.most})",
                hint=_HINT,
                retry_after=_RETRY_AFTER,
            )
        if self._namespaces[namespace] >= part:
            raise Overloaded(
                f"as many logs of namespace {namespace} are being read as may be ({part})",
                hint=_HINT,
                retry_after=_RETRY_AFTER,
            )
        if self._callers[caller] >= part:
            raise Overloaded(
                f"you are already reading as many logs as one caller may ({part})", hint=_HINT, retry_after=_RETRY_AFTER
            )

    async def sent(self, namespace: NamespaceName, count: int) -> None:
        """So many bytes of a namespace's logs have gone out: wait until the next may follow."""
        now = time.monotonic()
        due = max(self._due.get(namespace, 0.0), now - BURST / RATE) + count / RATE
        self._due[namespace] = due
        if due > now:
            await asyncio.sleep(due - now)

    @contextlib.contextmanager
    def counted(self, namespace: NamespaceName, caller: str) -> Iterator[None]:
        """Raises as `check`: many may have asked before the first of them began to read."""
        self.check(namespace, caller)
        self._namespaces[namespace] += 1
        self._callers[caller] += 1
        try:
            yield
        finally:
            _leave(self._namespaces, namespace)
            _leave(self._callers, caller)
            if namespace not in self._namespaces and self._due.get(namespace, 0.0) <= time.monotonic():
                self._due.pop(namespace, None)  # Else names that are gone would be kept for ever.


def _leave(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
