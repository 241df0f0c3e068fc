"""How many logs are read at once: each reader holds a connection, and a file for each replica."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from typing import Final

from hilbert.core.errors import Overloaded

SHARE: Final = 8
"""Readers may be an eighth of the descriptors that the process may have: the rest of the API goes on without them."""

_RETRY_AFTER: Final = 5.0


class LogStreams:
    """Counts the logs that are being read."""

    def __init__(self) -> None:
        self.most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE)
        self._count = 0

    def check(self) -> None:
        """Raises `Overloaded` when there is no room for one more."""
        if self._count >= self.most:
            raise Overloaded(
                f"the gateway reads {self.most} logs at once, the most it can",
                hint="stop a 'hilbert logs' that is no longer needed, or raise the gateway's limit of open files (ulimit -n)",
                retry_after=_RETRY_AFTER,
            )

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
