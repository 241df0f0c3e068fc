"""What was written wrongly, in one line, and the nearest thing that exists."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from hilbert.cli.commands import NOUNS, all_commands


def explain(error: CycloptsError, argv: Sequence[str]) -> tuple[str, str]:
    """A message and a hint."""
    error.verbose = False
    words = _command_words(argv)
    look = f"'hilbert {' '.join([*words, '--help'])}' shows how it is written"
    if isinstance(error, UnknownCommandError):
        wrong = next((word for word in argv[len(words) :] if not word.startswith("-")), "")
        close = difflib.get_close_matches(wrong, _next_words(words), n=1)
        message = f"unknown command: {' '.join([*words, wrong])}"
        return message, f"did you mean 'hilbert {' '.join([*words, *close])}'?" if close else look
    text = str(error).strip()
    head, mean, near = text.partition(" Did you mean ")
    if isinstance(error, UnknownOptionError) and mean:
        return _lower(head.rstrip(".")), f"did you mean {near}"
    if isinstance(error, UnusedCliTokensError):
        return f"too many words: {' '.join(error.unused_tokens or [])}", look
    if isinstance(error, MissingArgumentError):
        return _lower(text.rstrip(".")), look
    return _lower(" ".join(text.split()).rstrip(".")), look


def _command_words(argv: Sequence[str]) -> list[str]:
    """The leading words that are a command or a noun."""
    known = {noun.name for noun in NOUNS} | {alias for noun in NOUNS for alias in noun.aliases}
    known |= {command.path for command in all_commands()}
    found: list[str] = []
    for word in argv:
        if " ".join([*found, word]) not in known:
            break
        found.append(word)
    return found


def _next_words(words: Sequence[str]) -> list[str]:
    prefix = list(words)
    for noun in NOUNS:
        if prefix and prefix[0] in noun.aliases:
            prefix[0] = noun.name
    depth = len(prefix)
    follow: list[str] = []
    for command in all_commands():
        path = command.path.split(" ")
        if path[:depth] == prefix and len(path) > depth:
            follow.append(path[depth])
            follow += command.aliases if len(path) == depth + 1 else ()
    return follow


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
