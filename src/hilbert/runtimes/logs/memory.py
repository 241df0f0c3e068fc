"""`ReplicaLogs` in memory: for tests, and the shortest example of the port."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final

from hilbert.core.limits import LogUse, Scope
from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.runtimes.logs.reader import LineParser

_FOLLOW_EVERY: Final = 0.01
_OLD_KEPT: Final = 5
"""Logs kept of a function's replicas that are gone."""


class MemoryLogs:
    """Each replica writes to an anonymous file. Trusts replicas with it: for those of a test only."""

    def __init__(self) -> None:
        self._files: dict[tuple[FunctionRef, str], int] = {}
        self._old: dict[FunctionRef, list[str]] = {}

    def open(self, ref: FunctionRef, replica: str, *, bare: bool = False) -> int:  # noqa: ARG002 - nobody copies here
        file = self._files.get((ref, replica))
        if file is None:
            file = self._files[ref, replica] = os.memfd_create(replica, os.MFD_CLOEXEC)
            fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        return os.dup(file)

    def adopt(self, ref: FunctionRef, replica: str, *, bare: bool = False) -> None:
        """Nothing outlives this process."""

    def retire(self, ref: FunctionRef, replica: str) -> None:
        old = self._old.setdefault(ref, [])
        if (ref, replica) in self._files and replica not in old:
            old.append(replica)
        while len(old) > _OLD_KEPT:
            os.close(self._files.pop((ref, old.pop(0))))

    async def last_lines(self, ref: FunctionRef, replica: str, count: int) -> Sequence[str]:
        return [line.text[:200] for line in self._lines(LogQuery(ref=ref, instance=replica))[-count:]]

    async def read(self, query: LogQuery, *, alive: Callable[[], bool] = lambda: True) -> AsyncIterator[LogLine]:
        stored = self._lines(query)
        seen = len(stored)
        for line in stored[-query.tail :] if query.tail > 0 else stored:
            yield line
        goes_on = query.follow
        while goes_on:
            goes_on = alive()
            if goes_on:
                await asyncio.sleep(_FOLLOW_EVERY)
            stored = self._lines(query)
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

    def slow(self, namespace: NamespaceName, name: FunctionName | None, rate: int) -> None:
        """Memory is as fast as whoever writes."""

    async def uses(self) -> Mapping[Scope, LogUse] | None:
        return {}

    def keep_only(self, known: Iterable[FunctionRef]) -> None:
        for ref in {ref for ref, _ in self._files} - set(known):
            self.drop(ref)

    async def close(self) -> None:
        """As the port: all stays. `forget` gives it back."""

    def forget(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._old.clear()

    def _lines(self, query: LogQuery) -> Sequence[LogLine]:
        since = 0 if query.since is None else int(query.since.timestamp() * 1e9)
        found = []
        for (ref, replica), file in self._files.items():
            if ref == query.ref and query.instance in ("", replica):
                parser = LineParser()
                for line in os.pread(file, os.fstat(file).st_size, 0).splitlines():
                    for at, text, call_id in parser.parse(line):
                        if at >= since and query.takes(call_id, text):
                            found.append(LogLine(ref, replica, at, text, call_id))
        return sorted(found, key=lambda line: line.timestamp_ns)
