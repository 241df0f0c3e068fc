"""What is said of a command where it is listed."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command, e.g. `namespace create`."""

    path: str
    """Words as they are typed."""
    target: str
    """`MODULE:FUNCTION` below `hilbert.cli`, imported when the command runs."""
    help: str
    """First line: a sentence for lists. More may follow."""
    examples: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    """Other last words."""
    hidden: bool = False


class Noun(NamedTuple):
    """A group of commands, e.g. `namespace`."""

    name: str
    help: str
    aliases: tuple[str, ...] = ()
