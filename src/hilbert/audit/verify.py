"""Checks the whole log: every link of the chain, every signature, and that nothing is missing between its ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from hilbert.audit.chain import Line, digest, is_signed, name_of
from hilbert.audit.segments import load_key, parse, raw_lines, segments


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    first: int
    last: int
    """Numbers of the first and the last line; 0 without any."""
    head: str
    """Digest of the last line: note it elsewhere, and the end of the log cannot be cut off unseen."""
    records: int
    checkpoints: int
    unsigned: int
    """Records after the last good checkpoint: these can be checked only once the next one is there."""
    torn: int
    """Bytes after the last whole line, as a crash leaves them."""
    problems: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not self.problems


MOST_PROBLEMS: Final = 20
"""More are not listed: after a break, one follows from another."""


def verify(folder: Path, *, noted: tuple[int, str] | None = None) -> Report:
    """Check a folder. `noted` is a line's number and digest, as an earlier report gave them.

    It may be written to meanwhile: what comes after the last whole line does not count. Raises `OSError` and `ValueError`
    when it cannot be read at all.
    """
    key = load_key(folder)
    problems: list[str] = []
    first = seq = records = checkpoints = unsigned = kept_from = torn = 0
    head = ""
    is_noted = False

    def wrong(text: str) -> None:
        if len(problems) < MOST_PROBLEMS:
            problems.append(text)

    for segment in segments(folder):
        size = 0
        for number, raw in enumerate(raw_lines(segment.path)):
            size += len(raw) + 1
            line = parse(raw)
            expected = seq + 1 if seq else segment.first
            if line is None:
                wrong(f"line {expected}: is not a line of the log ({segment.path.name})")
                seq, head = expected, digest(raw)
                first = first or expected
                continue
            _check_link(line, expected, head, wrong)
            if number == 0 and (line.checkpoint is None or line.seq != segment.first):
                wrong(f"line {line.seq}: {segment.path.name} does not begin with its own checkpoint")
            first = first or line.seq
            seq, head = line.seq, digest(raw)
            if noted is not None and noted[0] == seq:
                is_noted = True
                if noted[1] != head:
                    wrong(f"line {seq}: differs from the one that was noted")
            if line.record is not None:
                records += 1
                unsigned += 1
            elif line.checkpoint is not None:
                checkpoints += 1
                if line.checkpoint.key != name_of(key):
                    wrong(f"line {seq}: is signed with another key")
                elif not is_signed(key, line):
                    wrong(f"line {seq}: the checkpoint's signature is wrong")
                else:
                    unsigned = 0
                    kept_from = line.checkpoint.kept_from
            else:
                wrong(f"line {seq}: holds neither a record nor a checkpoint")
        torn = segment.path.stat().st_size - size
    if not seq:
        wrong("there are no lines at all")
    elif first > max(kept_from, 1):
        wrong(f"lines {kept_from} to {first - 1} are missing: no checkpoint says that they were removed")
    if noted is not None and not is_noted:
        where = "before the first" if noted[0] < first else "after the last"
        wrong(f"line {noted[0]}, which was noted, is missing: it would be {where} line")
    return Report(
        first=first,
        last=seq,
        head=head,
        records=records,
        checkpoints=checkpoints,
        unsigned=unsigned,
        torn=max(0, torn),
        problems=tuple(problems),
    )


def _check_link(line: Line, expected: int, head: str, wrong: Callable[[str], None]) -> None:
    if line.seq != expected:
        wrong(f"line {expected}: is numbered {line.seq}, so lines are missing or out of order")
    if head and line.prev != head:
        wrong(f"line {line.seq}: does not follow from the line before it, of which one was changed")
