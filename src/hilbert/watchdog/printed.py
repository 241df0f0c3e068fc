"""What a Python handler prints, with the call that printed it.

`sys.stdout` and `sys.stderr` know the call by a context variable: that of the thread or of the task that prints. Threads that
a handler starts, and what it gives to a pool of threads, count to the call too. What goes past both streams does not: native
code, and programs that a handler starts, write to the descriptors 1 and 2.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from hilbert.watchdog.logs import Lines, Log, checked_call_id

if TYPE_CHECKING:
    from hilbert.kit.http1 import Headers

_POOLS: Final = "concurrent.futures.thread"


class Speaker:
    """One call, as the one who prints. Cheap to make: its id is looked for when it first prints."""

    __slots__ = ("_headers", "_lines", "_over")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._lines: dict[Printed, Lines] | None = None
        self._over = False

    def lines(self, stream: Printed) -> Lines:
        if self._lines is None:
            self._lines = {}
        found = self._lines.get(stream)
        if found is None:
            call = next((value for name, value in self._headers if name.lower() == b"x-call-id"), b"")
            found = self._lines[stream] = Lines(stream.log, call=checked_call_id(call))
        return found

    @property
    def over(self) -> bool:
        return self._over

    def finish(self) -> None:
        """The call is over: what it has begun to write is a line. Threads that it leaves behind may still print."""
        self._over = True
        if self._lines is not None:
            for stream, lines in list(self._lines.items()):
                stream.finish(lines)


SPEAKER: Final[ContextVar[Speaker | None]] = ContextVar("SPEAKER", default=None)
"""Whose code runs; None outside of calls."""


class Printed(io.RawIOBase):
    """The binary stream below `sys.stdout` or `sys.stderr`. Text of two calls, or of two threads' calls, never shares a line."""

    def __init__(self, descriptor: int, log: Log, limit: int) -> None:
        """`descriptor` is what `fileno` says; `limit` is the most bytes of a line."""
        super().__init__()
        self.log = log
        self._descriptor = descriptor
        self._limit = limit
        self._nobody = Lines(log)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        speaker = SPEAKER.get()
        with self.log.lock:
            lines = self._nobody if speaker is None else speaker.lines(self)
            lines.feed(bytes(data), self._limit)
            if speaker is not None and speaker.over:
                lines.finish(self._limit)
        return len(data)

    def finish(self, lines: Lines | None = None) -> None:
        """Write out what has no line end yet: of these lines, or of all that belongs to no call."""
        with self.log.lock:
            (lines or self._nobody).finish(self._limit)


def print_to(log: Log, limit: int) -> tuple[Printed, Printed]:
    """Have `sys.stdout` and `sys.stderr` write to `log`; `limit` is the most bytes of a line."""
    made = Printed(1, log, limit), Printed(2, log, limit)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(one, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)  # type: ignore[type-var]  # raw, as with `python -u`
        for one in made
    )
    return made


def follow_threads() -> None:
    """Have each thread that a call starts count to that call."""
    start = threading.Thread.start

    def started(thread: threading.Thread) -> None:
        speaker = SPEAKER.get()
        if speaker is not None and not _of_a_pool(thread):
            run = thread.run

            def spoken() -> None:
                SPEAKER.set(speaker)
                run()

            thread.run = spoken  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = started  # type: ignore[method-assign, assignment]


def _of_a_pool(thread: threading.Thread) -> bool:
    """Whether it is a pool's own, which works for many calls."""
    target = getattr(thread, "_target", None)
    if getattr(target, "__module__", "") != _POOLS:
        return False
    follow_pools()
    return True


def follow_pools() -> None:
    """Have what a call gives to a pool of threads count to that call, if pools have been imported."""
    pools: Any = sys.modules.get(_POOLS)
    with contextlib.suppress(AttributeError):
        pool = pools.ThreadPoolExecutor
        if not hasattr(pool.submit, "__wrapped__"):
            pool.submit = _following(pool.submit)


def _following(submit: Any) -> Any:
    def submitted(pool: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        speaker = SPEAKER.get()
        if speaker is None:
            return submit(pool, function, *args, **kwargs)

        def spoken() -> Any:
            token = SPEAKER.set(speaker)
            try:
                return function(*args, **kwargs)
            finally:
                SPEAKER.reset(token)

        return submit(pool, spoken)

    submitted.__wrapped__ = submit  # type: ignore[attr-defined]
    return submitted
