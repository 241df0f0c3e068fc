"""From a whole command line to the call of one function. No command is imported but the one that is meant."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hilbert.cli.frame.command import Command
from hilbert.cli.frame.spellings import find_command, next_words, spellings

_PACKAGE: Final = "hilbert.cli"


def dispatch(argv: Sequence[str]) -> object:
    """Run the command that `argv` names; returns what its function returns. Raises `UsageError`."""
    from hilbert.cli.frame.arguments import bind
    from hilbert.cli.frame.failures import UsageError

    command, words = find(argv)
    function = load(command)
    try:
        positional, named = bind(function, words)
    except UsageError as error:
        raise UsageError(error.message, hint=error.hint or _look(command.path)) from error
    return function(*positional, **named)


def find(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that is named, and the words behind its name. Raises `UsageError`."""
    from hilbert.cli.frame.failures import UsageError

    command = find_command(argv)
    if command is not None:
        typed = next(len(own) for own in spellings(command) if tuple(argv[: len(own)]) == own)
        return command, list(argv[typed:])
    following = next_words()
    known = _known_words(argv, following)
    if argv[len(known) :] and argv[len(known)].startswith("-"):
        if known and (listing := find_command([*known, "list"])) is not None:
            return listing, list(
                argv[len(known) :]
            )  # `hilbert audit --follow`: to list is what one does with a noun alone.
        raise UsageError(f"unknown option: {argv[len(known)]}", hint=_look(" ".join(known)))
    wrong = " ".join([*known, *argv[len(known) : len(known) + 1]])
    import difflib

    close = difflib.get_close_matches(wrong.rpartition(" ")[2], following.get(tuple(known), []), n=1)
    hint = f"did you mean 'hilbert {' '.join([*known, *close])}'?" if close else _look(" ".join(known))
    raise UsageError(f"unknown command: {wrong}", hint=hint)


def load(command: Command) -> Callable[..., object]:
    """Import the function of a command."""
    module, _, name = command.target.partition(":")
    function: Callable[..., object] = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
    return function


def _known_words(argv: Sequence[str], following: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    """The leading words that are nouns."""
    found: list[str] = []
    for word in argv:
        if word not in following.get(tuple(found), ()):
            break
        found.append(word)
    return found


def _look(words: str) -> str:
    return f"run 'hilbert {words} --help' for usage" if words else "run 'hilbert --help' for usage"
