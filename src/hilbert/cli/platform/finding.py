"""What `doctor` says of one thing that it looked at."""

from __future__ import annotations

import enum

import msgspec


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at."""

    level: Level
    what: str
    todo: str = ""
    """What to do, when something is to be done."""
    evidence: tuple[str, ...] = ()
    """Lines that show it, e.g. of a log."""
