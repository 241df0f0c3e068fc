"""How many logs are read at once: each reader holds a connection, and a file for each replica."""

from __future__ import annotations

import contextlib
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Final

from hilbert.core.errors import Overloaded
from hilbert.core.values import NamespaceName

SHARE: Final = 8
"""Readers may be an eighth of the descriptors that the process may have: the rest of the API goes on without them."""

NAMESPACE_SHARE: Final = 2
"""Of those, one namespace may have half."""
_RETRY_AFTER: Final = 5.0


class LogStreams:
    """Counts the logs that are being read."""

    def __init__(self) -> None:
        self.most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE)
        self._counts: Counter[NamespaceName] = Counter()

    def check(self, namespace: NamespaceName) -> None:
        """Raises `Overloaded` when there is no room for one more."""
        if self._counts.total() >= self.most:
            raise Overloaded(
                f"the gateway reads {self.most} logs at once, the most it can",
                hint="stop a 'hilbert logs' that is no longer needed, or raise the gateway's limit of open files (ulimit -n)",
                retry_after=_RETRY_AFTER,
            )
        if self._counts[namespace] >= max(1, self.most // NAMESPACE_SHARE):
            raise Overloaded(
                f"{self._counts[namespace]} logs of namespace {namespace} are being read, the most for one namespace",
                hint="stop a 'hilbert logs' that is no longer needed, or raise the gateway's limit of open files (ulimit -n)",
                retry_after=_RETRY_AFTER,
            )

    @contextlib.contextmanager
    def counted(self, namespace: NamespaceName) -> Iterator[None]:
        self._counts[namespace] += 1
        try:
            yield
        finally:
            self._counts[namespace] -= 1
            if not self._counts[namespace]:
                del self._counts[namespace]
