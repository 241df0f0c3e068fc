"""`ReplicaLogs` in memory: for tests, and the shortest example of the port."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final

from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionRef, NamespaceName

_FOLLOW_EVERY: Final = 0.01
_OLD_KEPT: Final = 5
"""Logs kept of a function's replicas that are gone."""


class MemoryLogs:
    """Each replica writes to an anonymous file. Trusts replicas with it: for those of a test only."""

    def __init__(self) -> None:
        self._files: dict[tuple[FunctionRef, str], int] = {}
        self._old: dict[FunctionRef, list[str]] = {}

    def open(self, ref: FunctionRef, replica: str) -> int:
        file = self._files.get((ref, replica))
        if file is None:
            file = self._files[ref, replica] = os.memfd_create(replica, os.MFD_CLOEXEC)
            fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        return os.dup(file)

    def adopt(self, ref: FunctionRef, replica: str) -> None:
        """Nothing outlives this process."""

    def retire(self, ref: FunctionRef, replica: str) -> None:
        old = self._old.setdefault(ref, [])
        if (ref, replica) in self._files and replica not in old:
            old.append(replica)
        while len(old) > _OLD_KEPT:
            os.close(self._files.pop((ref, old.pop(0))))

    def last_line(self, ref: FunctionRef, replica: str) -> str:
        lines = [line.text.strip() for line in self._lines(LogQuery(ref=ref, instance=replica)) if line.text.strip()]
        return lines[-1][:200] if lines else ""

    async def read(self, query: LogQuery, *, alive: Callable[[], bool] = lambda: True) -> AsyncIterator[LogLine]:
        stored = list(self._lines(query))
        seen = len(stored)
        for line in stored[-query.tail :] if query.tail > 0 else stored:
            yield line
        while query.follow and alive():
            await asyncio.sleep(_FOLLOW_EVERY)
            stored = list(self._lines(query))
            for line in stored[seen:]:
                yield line
            seen = len(stored)

    def drop(self, ref: FunctionRef) -> None:
        self._old.pop(ref, None)
        for key in [key for key in self._files if key[0] == ref]:
            os.close(self._files.pop(key))

    def drop_namespace(self, name: NamespaceName) -> None:
        for ref in {ref for ref, _ in self._files if ref.namespace == name}:
            self.drop(ref)

    def keep_only(self, known: Iterable[FunctionRef]) -> None:
        for ref in {ref for ref, _ in self._files} - set(known):
            self.drop(ref)

    async def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._old.clear()

    def _lines(self, query: LogQuery) -> Iterator[LogLine]:
        """In the order in which replicas were opened: this has no stamps to merge by."""
        for (ref, replica), file in self._files.items():
            if ref == query.ref and query.instance in ("", replica):
                for text in os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace").splitlines():
                    yield LogLine(ref, replica, 0, text.partition("Z ")[2] or text)
