"""Text that fits the terminal."""

from __future__ import annotations

import os
import sys
from typing import Final

_WIDEST: Final = 100
_NARROWEST: Final = 40


def screen_width() -> int:
    """Columns to write in: the terminal's, from 40 to 100; 100 where standard output is no terminal."""
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    except (OSError, ValueError):
        columns = 0
    return max(_NARROWEST, min(columns, _WIDEST)) if columns else _WIDEST


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken between words, and within those that are longer; at least one."""
    if len(text) <= width:
        return [text]
    lines = [""]  # Not with textwrap: each `hilbert --help` would pay for its import.
    for word in text.split():
        if not lines[-1]:
            lines[-1] = word
        elif len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return lines


def hanging(head: str, text: str, *, column: int, width: int) -> list[str]:
    """`head`, then `text` from `column` on; a head that is too long stands on a line of its own."""
    lines = wrap(text, max(width - column, 20))
    if len(head) + 2 > column:
        return [head, *(" " * column + line for line in lines)] if text else [head]
    return [f"{head:<{column}}{lines[0]}".rstrip(), *(" " * column + line for line in lines[1:])]


def paragraphs(text: str, width: int) -> str:
    """`text` with every paragraph wrapped anew."""
    return "\n\n".join("\n".join(wrap(" ".join(part.split()), width)) for part in text.split("\n\n"))
