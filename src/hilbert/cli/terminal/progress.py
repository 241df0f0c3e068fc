"""A moving line at a terminal that says what is being waited for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hilbert.cli.terminal.output import harmless, out
from hilbert.core.environment import environment


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
