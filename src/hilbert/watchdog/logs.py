"""The replica's log: every line stamped, whoever wrote it.

The function writes to pipes in place of the descriptors 1 and 2; a thread of its own drains them, so that neither a
flood of output nor a handler that blocks the event loop stops the other. Nothing is queued: when the log's disk is slow, the
function's writes wait, and memory stays flat.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from typing import Final, NamedTuple

_READ: Final = 65536
_FLUSH_SECONDS: Final = 1.0
"""Most time to drain the pipes when the watchdog ends."""


class Log:
    """Writes stamped lines to one descriptor. Safe to use from any thread: a batch of lines is one `write`."""

    def __init__(self, descriptor: int, *, stamp: bool, date: bool) -> None:
        """`stamp` begins lines with RFC 3339 nanoseconds in UTC; `date` puts Go's date and time before each text."""
        self._descriptor = descriptor
        self._stamp = stamp
        self._date = date
        self._cached = (-1, b"", b"")

    def line(self, text: str) -> None:
        """Write a line of the watchdog's own."""
        self.lines([text.replace("\n", "\\n").encode("utf-8", "replace")])

    def lines(self, texts: list[bytes], *, origin: bytes = b"") -> None:
        """Write lines without their line ends. Failure to write is ignored: there is nobody to tell."""
        head = self._head() + origin
        data = head + (b"\n" + head).join(map(_valid, texts)) + b"\n"
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            pass

    def _head(self) -> bytes:
        if not (self._stamp or self._date):
            return b""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        known, stamp, date = self._cached
        if second != known:
            now = time.gmtime(second)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.", now).encode() if self._stamp else b""
            date = time.strftime("%Y/%m/%d %H:%M:%S ", now).encode() if self._date else b""
            self._cached = (second, stamp, date)  # One assignment: threads share this.
        return b"%b%09dZ %b" % (stamp, rest, date) if self._stamp else date


class _Stream:
    """One pipe and the beginning of a line that has not ended yet."""

    def __init__(self, descriptor: int, log: Log, origin: bytes) -> None:
        self.descriptor = descriptor
        self.log = log
        self.origin = origin
        self.partial = b""

    def feed(self, data: bytes, limit: int) -> None:
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        ready = [piece for line in lines for piece in _pieces(line, limit)] if lines else []
        if len(self.partial) > limit:
            *full, self.partial = _pieces(self.partial, limit)
            ready += full
        if ready:
            self.log.lines(ready, origin=self.origin)

    def finish(self, limit: int) -> None:
        if self.partial:
            self.log.lines(_pieces(self.partial, limit), origin=self.origin)
            self.partial = b""


class Capture(NamedTuple):
    """The write ends that stand for the function's standard output and error."""

    stdout: int
    stderr: int


class Pump:
    """Drains the function's output into the log, from `start` to `stop`."""

    def __init__(self, *, line_limit: int) -> None:
        """`line_limit` is in bytes; a longer line continues on the next one."""
        self._limit = line_limit
        self._started = False
        self.stopped = False
        self._streams: list[_Stream] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def pipe(self, log: Log, *, origin: bytes = b"") -> int:
        """A new pipe into `log`; before `start` only. Returns the write end, which the caller owns."""
        read, write = os.pipe2(os.O_CLOEXEC)
        self._streams.append(_Stream(read, log, origin))
        return write

    def start(self) -> None:
        """Idempotent."""
        if not self._started:
            self._started = True
            self._thread.start()

    def stop(self) -> None:
        """Write what is in the pipes, unfinished lines too, and end. The caller has closed its write ends."""
        self.start()
        self.stopped = True
        os.close(self._wake_write)
        self._thread.join(_FLUSH_SECONDS * 2)

    def _run(self) -> None:
        poll = select.poll()
        streams = {stream.descriptor: stream for stream in self._streams}
        for descriptor in streams:
            poll.register(descriptor, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        deadline = None
        while streams:
            ready = poll.poll(None if deadline is None else 0)
            for descriptor, _ in ready:
                if descriptor == self._wake_read:
                    poll.unregister(descriptor)
                    deadline = time.monotonic() + _FLUSH_SECONDS
                    continue
                data = os.read(descriptor, _READ)
                if data:
                    streams[descriptor].feed(data, self._limit)
                else:
                    streams.pop(descriptor).finish(self._limit)
                    poll.unregister(descriptor)
            if deadline is not None and (not ready or time.monotonic() > deadline):
                break
        for stream in streams.values():
            stream.finish(self._limit)
        for descriptor in (self._wake_read, *(stream.descriptor for stream in self._streams)):
            os.close(descriptor)


def capture_output(pump: Pump, stdout: Log, stderr: Log, *, merge: bool, prefix: bool) -> Capture:
    """Put pipes in place of descriptors 1 and 2, for this process and its children to come.

    With `merge` both are one pipe, which keeps the order of what is written to them.
    """
    out = pump.pipe(stderr if merge else stdout, origin=b"stdout: " if prefix and not merge else b"")
    err = out if merge else pump.pipe(stderr, origin=b"stderr: " if prefix else b"")
    for descriptor, target in ((out, 1), (err, 2)):
        os.dup2(descriptor, target)
    for descriptor in {out, err}:
        os.close(descriptor)
    sys.stdout, sys.stderr = (
        open(n, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        for n in (1, 2)
    )
    return Capture(1, 2)


def release_output(stdout: int, stderr: int) -> None:
    """Put the real descriptors back, so that the pipes have no writer left in this process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


def _pieces(line: bytes, limit: int) -> list[bytes]:
    """`line` in pieces of at most `limit` bytes, cut between characters."""
    pieces = []
    start = 0
    while len(line) - start > limit:
        end = start + limit
        while end > start + 1 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[start:end])
        start = end
    return [*pieces, line[start:]]


def _valid(text: bytes) -> bytes:
    """`text` as UTF-8, what is not replaced."""
    return text if text.isascii() else text.decode("utf-8", "replace").encode()
