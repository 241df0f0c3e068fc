"""The words of commands in every way that they may be typed: by name and by alias."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from hilbert.cli.frame.command import Command
from hilbert.cli.frame.commands import NOUNS, all_commands


def spellings(command: Command) -> Iterator[tuple[str, ...]]:
    """Every way to write the command, the plain one first."""
    *parents, last = command.path.split(" ")
    aliases = {noun.name: noun.aliases for noun in NOUNS}
    choices = [(word, *aliases.get(" ".join(parents[: depth + 1]), ())) for depth, word in enumerate(parents)]
    return itertools.product(*choices, (last, *command.aliases))


def next_words() -> dict[tuple[str, ...], list[str]]:
    """For all words typed so far, what may come next; in the order of the help page."""
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for command in all_commands():
        if command.hidden:
            continue
        for words in spellings(command):
            for depth, word in enumerate(words):
                found.setdefault(words[:depth], {})[word] = None
    return {words: list(following) for words, following in found.items()}


def find_command(words: Sequence[str]) -> Command | None:
    """The command that the leading words name."""
    for command in all_commands():
        for spelling in spellings(command):
            if tuple(words[: len(spelling)]) == spelling:
                return command
    return None
