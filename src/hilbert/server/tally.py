"""Keeps what was counted in a file, so that counters go on where they were when the control process starts anew."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.dataplane.feed.totals import Totals
from hilbert.kit.files import write_file
from hilbert.server.usage import UsageFile

_EVERY: Final = 5.0
"""Seconds: at most so much of what a worker had counted is lost, if it and the control process are killed together.

As much of the CPU time of a replica, if the control process is killed and the replica ends before the next one looks."""

_log = structlog.get_logger("hilbert.tally")


class Tally:
    """The file of one control process's totals."""

    def __init__(self, totals: Totals, path: Path, usage: UsageFile | None = None) -> None:
        """`usage` is noted before each write, and saved after it."""
        self._usage = usage
        self._totals = totals
        self._path = path
        self._failing = False

    def load(self) -> None:
        """Go on from the file, if there is a good one: a bad one costs the counts, not the start."""
        try:
            self._totals.restore(self._path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as exc:
            _log.warning("counters start again from zero", file=str(self._path), reason=str(exc))

    async def keep(self) -> None:
        """Write again and again, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            if self._usage is not None:
                await self._usage.measure()
                self._usage.note()
            if self._totals.changed:
                await asyncio.to_thread(self._write, self._totals.dump())
            if self._usage is not None and not self._failing:
                self._usage.save()

    def save(self) -> None:
        """Write what has changed, at once."""
        if self._usage is not None:
            self._usage.note()
        if self._totals.changed:
            self._write(self._totals.dump())
        if self._usage is not None and not self._failing:
            self._usage.save()

    def _write(self, data: bytes) -> None:
        """A full disk is told once, and costs nothing but the counts."""
        try:
            write_file(self._path, data)
        except OSError as exc:
            if not self._failing:
                _log.warning("counters could not be saved", file=str(self._path), reason=str(exc))
            self._failing = True
        else:
            self._failing = False
