"""The folder of all log files: `NAMESPACE/FUNCTION/REPLICA.log`, and `REPLICA.old` once the replica is gone."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import secrets
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import structlog

from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import cancel, spawn
from hilbert.runtimes.logs.file import LogFile, cut_front, last_line

_log = structlog.get_logger("hilbert.logs")

OLD_KEPT: Final = 5
"""Logs kept of a function's replicas that are gone; the newest."""

_FOLLOW_EVERY: Final = 0.1
"""Seconds between looks at the files while somebody follows."""
_CUT_EVERY: Final = 2.0
_CUTS_A_SECOND: Final = 1000
"""Files looked at for their size: each every two seconds, more rarely when there are more than this allows."""
_TRASH: Final = ".trash-"


class LogFolder:
    """Opened for writing by a runtime, read by the host provider. Bounded: `limit` bytes a replica, `OLD_KEPT` old ones."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._live: dict[FunctionRef, set[Path]] = {}
        self._cutter: asyncio.Task[None] | None = None
        self._removals: set[asyncio.Task[None]] = set()

    def file(self, ref: FunctionRef, replica: str) -> Path:
        return self._path / ref.namespace / ref.name / f"{replica}.log"

    def open(self, ref: FunctionRef, replica: str) -> int:
        """A descriptor for appending, the caller's to close. Raises `OSError`."""
        file = self.file(ref, replica)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self.adopt(ref, replica)
        return descriptor

    def adopt(self, ref: FunctionRef, replica: str) -> None:
        """A replica writes to its file: keep it within bounds from now on."""
        self._live.setdefault(ref, set()).add(self.file(ref, replica))
        if self._cutter is None:
            self._cutter = spawn(self._cut_all(), name="log bounds")

    def retire(self, ref: FunctionRef, replica: str) -> None:
        """The replica is gone: keep its log as an old one, and of those the newest only. Absence is success."""
        file = self.file(ref, replica)
        live = self._live.get(ref, set())
        live.discard(file)
        if not live:
            self._live.pop(ref, None)
        with contextlib.suppress(OSError):
            file.rename(file.with_suffix(".old"))
        with contextlib.suppress(OSError):
            old = sorted(file.parent.glob("*.old"), key=lambda path: path.stat().st_mtime_ns)
            for path in old[:-OLD_KEPT]:
                path.unlink(missing_ok=True)

    def last_line(self, ref: FunctionRef, replica: str) -> str:
        return last_line(self.file(ref, replica))

    def drop(self, ref: FunctionRef) -> None:
        """Forget all that the function wrote. What still writes, writes to nowhere."""
        self._live.pop(ref, None)
        self._discard(self._path / ref.namespace / ref.name)

    def drop_namespace(self, name: NamespaceName) -> None:
        for ref in [ref for ref in self._live if ref.namespace == name]:
            del self._live[ref]
        self._discard(self._path / name)

    def keep_only(self, known: Iterable[FunctionRef]) -> None:
        """Remove the logs of functions that do not exist: a crash may have come between."""
        wanted = {(str(ref.namespace), str(ref.name)) for ref in known}
        for namespace in list(self._path.iterdir()):
            if namespace.name.startswith(_TRASH):
                self._remove(namespace)
                continue
            for function in list(namespace.iterdir()) if namespace.is_dir() else []:
                if (namespace.name, function.name) not in wanted:
                    self._discard(function)

    async def close(self) -> None:
        await cancel(self._cutter)
        self._cutter = None
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def read(self, query: LogQuery, *, alive: Callable[[], bool] = lambda: True) -> AsyncIterator[LogLine]:
        """As `core.ports.Logs`. With `follow`, ends when `alive` says that the function is gone."""
        files: dict[str, LogFile] = {}
        since = 0 if query.since is None else int(query.since.timestamp() * 1_000_000) * 1000
        try:
            self._find(query, files, tail=query.tail)
            stored = self._merge(query.ref, files, since, final=not query.follow)
            if query.tail > 0:
                stored = iter(deque(stored, maxlen=query.tail))
            for count, line in enumerate(stored):
                yield line
                if count % 256 == 255:
                    await asyncio.sleep(0)
            while query.follow and alive():
                await asyncio.sleep(_FOLLOW_EVERY)
                self._find(query, files, tail=0)
                for line in self._merge(query.ref, files, since, final=False):
                    yield line
        finally:
            for file in files.values():
                file.close()

    def _find(self, query: LogQuery, files: dict[str, LogFile], *, tail: int) -> None:
        """Open the files of replicas that are not in `files` yet."""
        try:
            paths = sorted((self._path / query.ref.namespace / query.ref.name).iterdir())
        except OSError:
            return
        for path in paths:
            replica = path.stem
            if replica in files or path.suffix not in (".log", ".old") or query.instance not in ("", replica):
                continue
            with contextlib.suppress(OSError):
                file = files[replica] = LogFile(path)
                if tail > 0:
                    file.seek_tail(tail)

    def _merge(self, ref: FunctionRef, files: dict[str, LogFile], since: int, *, final: bool) -> Iterator[LogLine]:
        def lines(replica: str, file: LogFile) -> Iterator[LogLine]:
            for timestamp, text in file.lines(final=final):
                if timestamp >= since:
                    yield LogLine(ref, replica, timestamp, text)

        sources = [lines(replica, file) for replica, file in files.items()]
        return iter(heapq.merge(*sources, key=lambda line: line.timestamp_ns))

    async def _cut_all(self) -> None:
        while True:
            files = [file for files in self._live.values() for file in files]
            await asyncio.sleep(max(_CUT_EVERY, len(files) / _CUTS_A_SECOND))
            await asyncio.to_thread(_cut, files, self._limit)

    def _discard(self, folder: Path) -> None:
        """Move a folder out of the way at once, then remove it at leisure."""
        trash = self._path / f"{_TRASH}{secrets.token_hex(8)}"
        try:
            folder.rename(trash)
        except FileNotFoundError:
            return
        except OSError as exc:  # The promise stands; `keep_only` tries again at the next start.
            _log.warning("logs not removed", folder=str(folder), error=exc.strerror)
            return
        self._remove(trash)

    def _remove(self, folder: Path) -> None:
        task = spawn(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True), name="remove logs")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


def _cut(files: list[Path], limit: int) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            cut_front(file, limit)
