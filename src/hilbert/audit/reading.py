"""Looking through the log, from its end backwards. Blocking: called from threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hilbert.audit.chain import Line
from hilbert.audit.ports import Page, Wanted
from hilbert.audit.segments import Segment, parse, raw_lines, segments

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of the log that one request looks through."""


def read(folder: Path, wanted: Wanted, cuts: Mapping[str, int], last: int) -> Page:
    """The newest records that are wanted, up to the line `last`, the oldest of them first.

    With `after`, the oldest ones behind that line instead, so that nothing is passed over by whoever follows. Of a namespace
    that was deleted, only what is newer than that is shown to those who do not see everything. Raises `OSError`.
    """
    found = segments(folder)
    if wanted.after:
        return _forwards(found, wanted, cuts, last)
    kept: list[tuple[int, Line]] = []
    looked = 0
    complete = True
    for one in reversed(found):
        if wanted.before and one.first >= wanted.before:
            continue
        if looked >= MOST_BYTES or len(kept) >= wanted.limit:
            complete = False
            break
        raws = list(_lines(one.path))
        for raw in reversed(raws):
            looked += len(raw)
            line = parse(raw)
            if line is None or line.seq > last or (wanted.before and line.seq >= wanted.before):
                continue
            if not _shown(line, wanted, cuts):
                continue
            if len(kept) >= wanted.limit:
                complete = False
                break
            kept.append((line.seq, line))
    kept.reverse()
    return Page([(seq, line.record) for seq, line in kept if line.record is not None], next_seq=last, complete=complete)


def _forwards(found: Sequence[Segment], wanted: Wanted, cuts: Mapping[str, int], last: int) -> Page:
    starts = [one.first for one in found]
    begin = max((n for n, first in enumerate(starts) if first <= wanted.after + 1), default=0)
    lines: list[tuple[int, Line]] = []
    looked, seen = 0, wanted.after
    for one in found[begin:]:
        for raw in _lines(one.path):
            looked += len(raw)
            line = parse(raw)
            if line is None or not wanted.after < line.seq <= last:
                continue
            seen = line.seq
            if _shown(line, wanted, cuts):
                lines.append((line.seq, line))
            if len(lines) >= wanted.limit or looked >= MOST_BYTES:
                return Page([(n, one.record) for n, one in lines if one.record], next_seq=seen, complete=seen >= last)
    return Page([(n, one.record) for n, one in lines if one.record], next_seq=max(seen, last), complete=True)


def _shown(line: Line, wanted: Wanted, cuts: Mapping[str, int]) -> bool:
    record = line.record
    if record is None or not wanted.matches(record):
        return False
    if wanted.sees_all:
        return True
    about = {part.partition(":")[0] for part in record.resource.split()} | {record.namespace}
    return all(name and line.seq > cuts.get(name, 0) and wanted.sees(name) for name in about)


def _lines(path: Path) -> list[bytes]:
    """Of a file that may be removed meanwhile."""
    try:
        return list(raw_lines(path))
    except FileNotFoundError:
        return []
