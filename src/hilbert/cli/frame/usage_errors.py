"""What was written wrongly, in one line, and the nearest thing that exists."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError, UnusedCliTokensError

from hilbert.cli.frame.spellings import next_words


def explain(error: CycloptsError, argv: Sequence[str]) -> tuple[str, str]:
    """A message and a hint."""
    error.verbose = False
    following = next_words()
    words = _command_words(argv, following)
    look = f"run 'hilbert {' '.join([*words, '--help'])}' for usage"
    if isinstance(error, UnknownCommandError):
        wrong = next((word for word in argv[len(words) :] if not word.startswith("-")), "")
        close = difflib.get_close_matches(wrong, following.get(tuple(words), []), n=1)
        message = f"unknown command: {' '.join([*words, wrong])}"
        return message, f"did you mean 'hilbert {' '.join([*words, *close])}'?" if close else look
    text = str(error).strip()
    head, mean, near = text.partition(" Did you mean ")
    if isinstance(error, UnknownOptionError) and mean:
        return _lower(head.rstrip(".")), f"did you mean {near}"
    if isinstance(error, UnusedCliTokensError):
        unused = error.unused_tokens or []
        return f"unexpected argument{'s' if len(unused) > 1 else ''}: {' '.join(unused)}", look
    if isinstance(error, MissingArgumentError):
        return _lower(text.rstrip(".")), look
    return _lower(" ".join(text.split()).rstrip(".")), look


def _command_words(argv: Sequence[str], following: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    """The leading words that are nouns and a command."""
    found: list[str] = []
    for word in argv:
        if word not in following.get(tuple(found), ()):
            break
        found.append(word)
    return found


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
