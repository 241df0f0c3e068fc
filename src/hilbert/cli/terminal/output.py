"""Writing: data to standard output, everything else to standard error; quiet when nobody watches.

Text that functions or strangers wrote passes through `harmless` before it reaches a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

from hilbert.core.environment import environment


def out(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """One line for a person who watches; not written when standard error is no terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


def tell(text: str) -> None:
    """One line without which whoever runs the command cannot go on: always written, and at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """One line that must not be missed."""
    sys.stderr.write(f"{paint('warning:', '33', sys.stderr)} {text}\n")


def fail(message: str, hint: str = "") -> None:
    """One line on what went wrong, and one on what to do."""
    sys.stderr.write(f"{paint('error:', '1;31', sys.stderr)} {harmless(' '.join(message.split()))}\n")
    if hint:
        sys.stderr.write(f"{paint('hint:', '1', sys.stderr)} {harmless(hint)}\n")


def paint(text: str, code: str, stream: TextIO) -> str:
    """`text` in the colour `code` (ECMA-48), if `stream` shows colours and `NO_COLOR` is not set."""
    environ = environment()
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


_VISIBLE: Final = {
    code: f"\\u{code:04x}"
    for code in (
        *range(9), *range(11, 32), *range(127, 160),  # Control characters, but for tab and newline.
        *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF,  # Hide or reorder what is seen.
    )
}  # fmt: skip


def harmless(text: str) -> str:
    """`text` with control characters shown instead of obeyed, so that it cannot drive a terminal. Tab and newline stay.

    They are shown as JSON escapes them, so JSON stays JSON.
    """
    return text.translate(_VISIBLE)


def columns(rows: Sequence[Sequence[str]], *, gap: str = "  ") -> Iterable[str]:
    """Rows as aligned lines; the last column is not padded."""
    if not rows:
        return []
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [gap.join(cell.ljust(widths[n]) for n, cell in enumerate(row)).rstrip() for row in rows]
