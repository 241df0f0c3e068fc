"""Transports without sockets, for protocols under test."""

from __future__ import annotations

from typing import Any


class MemoryTransport:
    """Keeps what is written; the test plays the network."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True
        self.closing = False
        self.aborted = False
        self.ended = False
        self.unsent = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4321) if name == "peername" else default

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end"
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class ManualLoop:
    """The two methods of an event loop that `kit.http1` uses, with time that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *arguments: Any) -> ManualTimer:
        timer = ManualTimer(lambda: callback(*arguments))
        self._timers.append((self.now + delay, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, running timers in order."""
        end = self.now + seconds
        while due := [entry for entry in self._timers if entry[0] <= end]:
            first = min(due, key=lambda entry: entry[0])
            self._timers.remove(first)
            self.now = max(self.now, first[0])
            first[1].run()
        self.now = end


class ManualTimer:
    def __init__(self, run: Any) -> None:
        self._run = run
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def run(self) -> None:
        if not self._cancelled:
            self._run()
