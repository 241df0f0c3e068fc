"""Writing: data to standard output, everything else to standard error; quiet when nobody watches.

Text that functions or strangers wrote passes through `harmless` before it reaches a terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

from hilbert.core.settings import environment


def out(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """One line for a person who watches; not written when standard error is no terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


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


class Progress:
    """A line on the terminal that says what is being waited for, from the first second on. Else invisible."""

    _frames: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(self, text: str, *, after: float = 1.0) -> None:
        self.text = text
        self._after = after
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._drawn = False
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()

    def start(self) -> None:
        if sys.stderr.isatty() and environment().get("TERM") != "dumb":
            self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Remove the line."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._clear()

    def say(self, line: str) -> None:
        """Write a line of data above the moving one."""
        with self._lock:
            self._clear()
            out(line)
            sys.stdout.flush()

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    def _draw(self) -> None:
        if self._ended.wait(self._after):
            return
        turn = 0
        while True:
            with self._lock:
                if self._ended.is_set():
                    return
                seconds = time.monotonic() - self._began
                frame = self._frames[turn % len(self._frames)]
                sys.stderr.write(f"\r\x1b[K{frame} {harmless(self.text)[:100]} ({seconds:.0f} s)")
                sys.stderr.flush()
                self._drawn = True
            turn += 1
            if self._ended.wait(0.1):
                return


@contextmanager
def progress(text: str) -> Iterator[Progress]:
    """Show `text` while the block runs, if it takes over a second and somebody watches."""
    line = Progress(text)
    line.start()
    try:
        yield line
    finally:
        line.stop()
