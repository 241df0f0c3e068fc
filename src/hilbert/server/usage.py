"""Keeps what namespaces have used in a file, in step with the counters that it is made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from hilbert.control.usage import Ledger, today
from hilbert.core.model import EndpointSet
from hilbert.core.ports import CpuTimes
from hilbert.kit.files import write_file

_log = structlog.get_logger("hilbert.usage")


class UsageFile:
    """The file of one control process's ledger."""

    def __init__(self, ledger: Ledger, path: Path, cpu: CpuTimes | None = None) -> None:
        self._ledger = ledger
        self._path = path
        self._cpu = cpu

    def load(self) -> None:
        """Go on from the file. One that cannot be read is kept beside it, for whoever can mend it."""
        try:
            self._ledger.restore(self._path.read_bytes())
        except FileNotFoundError:
            pass
        except msgspec.MsgspecError as exc:
            aside = self._path.with_name(f"{self._path.name}.unreadable-{int(time.time())}")
            self._path.rename(aside)
            _log.error(
                "what namespaces have used cannot be read, and is counted from zero again",
                kept=str(aside),
                reason=str(exc),
            )

    def seen(self, change: EndpointSet) -> None:
        self._ledger.follow(change)
        self._ledger.gone(change, today())

    def retire_others(self, namespaces: Sequence[str]) -> None:
        """As `Ledger.retire_others`, when all namespaces are known."""
        self._ledger.retire_others(frozenset(namespaces), today())

    async def measure(self) -> None:
        """Count what replicas have used of the processor."""
        if self._cpu is not None:
            self._ledger.note_cpu(await self._cpu.cpu_times(), today())

    @property
    def changed(self) -> bool:
        """There is something that `save` has not written."""
        return self._ledger.changed

    def note(self) -> None:
        """Count. Comes before the counters are written, and `save` after: the file must never be ahead of them."""
        self._ledger.note(today())

    def save(self) -> None:
        if not self._ledger.changed:
            return
        try:
            write_file(self._path, self._ledger.dump())
        except OSError as exc:
            self._ledger.changed = True
            _log.error("what namespaces have used could not be saved", file=str(self._path), reason=str(exc))
