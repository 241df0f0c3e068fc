"""The replica's log: every line stamped, whoever wrote it.

The function writes to pipes in place of the descriptors 1 and 2; a thread of its own drains them, so that neither a
flood of output nor a handler that blocks the event loop stops the other. Nothing is queued: when the log's disk is slow, the
function's writes wait, and memory stays flat.

    2006-01-02T15:04:05.000000000Z TEXT
    2006-01-02T15:04:05.000000000Z/CALL-ID TEXT

The call id stands in the stamp, which goes before whatever was written: no text that a function prints is taken for one.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
import select
import signal
import threading
import time
from typing import Final

_READ: Final = 65536
_FLUSH_SECONDS: Final = 1.0
"""Most time to drain the pipes when the watchdog ends."""


_ID_MOST: Final = 128
_ID_OCTETS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"


def checked_call_id(value: bytes) -> bytes:
    """A call id as the gateway lets it pass (`wire.headers.is_call_id`); empty for anything else."""
    return b"" if len(value) > _ID_MOST or value.translate(None, _ID_OCTETS) else value


class Log:
    """Writes stamped lines to one descriptor. Safe to use from any thread: batches of lines do not mix."""

    def __init__(self, descriptor: int, *, stamp: bool, date: bool) -> None:
        """`stamp` begins lines with RFC 3339 nanoseconds in UTC; `date` puts Go's date and time before each text."""
        self._descriptor = descriptor
        self._stamp = stamp
        self._date = date
        self._cached = (-1, b"", b"")
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        """In a child that a handler has forked, another thread may have held the lock and is not there to give it back."""
        self.lock = threading.RLock()

    def line(self, text: str, *, call: bytes = b"") -> None:
        """Write a line of the watchdog's own, about the call of this id."""
        self.lines([text.replace("\n", "\\n").encode("utf-8", "replace")], call=call)

    def lines(self, texts: list[bytes], *, origin: bytes = b"", call: bytes = b"") -> None:
        """Write lines without their line ends. Failure to write is ignored: there is nobody to tell."""
        head = self._head(call) + origin
        data = head + (b"\n" + head).join(map(_valid, texts)) + b"\n"
        view = memoryview(data)
        with self.lock, contextlib.suppress(OSError):
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _head(self, call: bytes) -> bytes:
        if not (self._stamp or self._date):
            return b""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        known, stamp, date = self._cached
        if second != known:
            now = time.gmtime(second)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.", now).encode() if self._stamp else b""
            date = time.strftime("%Y/%m/%d %H:%M:%S ", now).encode() if self._date else b""
            self._cached = (second, stamp, date)  # One assignment: threads share this.
        if not self._stamp:
            return date
        return b"%b%09dZ/%b %b" % (stamp, rest, call, date) if call else b"%b%09dZ %b" % (stamp, rest, date)


class Lines:
    """Makes lines of what comes in pieces: the beginning of one that has not ended yet is kept."""

    def __init__(self, log: Log, *, origin: bytes = b"", call: bytes = b"") -> None:
        self.log = log
        self.origin = origin
        self.call = call
        self.partial = b""

    def feed(self, data: bytes, limit: int) -> None:
        """Write the lines that end in `data`; `limit` is the most bytes of one."""
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        ready = [piece for line in lines for piece in _pieces(line, limit)] if lines else []
        if len(self.partial) > limit:
            *full, self.partial = _pieces(self.partial, limit)
            ready += full
        if ready:
            self.write(ready)

    def finish(self, limit: int) -> None:
        """There comes no more."""
        if self.partial:
            rest, self.partial = self.partial, b""
            self.write(_pieces(rest, limit))

    def write(self, lines: list[bytes]) -> None:
        self.log.lines(lines, origin=self.origin, call=self.call)


class ToldLines(Lines):
    """Lines of a process that serves many calls: `CALL-ID TEXT`, or ` TEXT` outside of any."""

    def write(self, lines: list[bytes]) -> None:
        for call, group in itertools.groupby(map(_told, lines), key=operator.itemgetter(0)):
            self.log.lines([text for _, text in group], origin=self.origin, call=call)


def _told(line: bytes) -> tuple[bytes, bytes]:
    call, space, text = line.partition(b" ")
    return (call, text) if space and checked_call_id(call) == call else (b"", line)


class Pump:
    """Drains the function's output into the log, from `start` to `stop`."""

    def __init__(self, *, line_limit: int) -> None:
        """`line_limit` is in bytes; a longer line continues on the next one."""
        self.limit = line_limit
        self._started = False
        self.stopped = False
        self._streams: dict[int, Lines] = {}
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def pipe(self, lines: Lines) -> int:
        """A new pipe into `lines`, at any time before `stop`. Returns the write end, which the caller owns.

        Raises `OSError`.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            self.drain(read, lines)
        except OSError:
            os.close(write)
            raise
        return write

    def drain(self, read: int, lines: Lines) -> None:
        """Read a pipe into `lines` until its end, at any time before `stop`. `read` is the pump's from now on.

        Raises `OSError`; the pipe is closed then, too.
        """
        self._streams[read] = lines
        try:
            self._epoll.register(read, select.EPOLLIN)
        except OSError:
            del self._streams[read]
            os.close(read)
            raise

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
        # The main thread blocks signals while it starts a process. The end of another would wake this thread then, for nothing.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        deadline = None
        while self._streams or deadline is None:
            ready = self._epoll.poll(None if deadline is None else 0)
            for descriptor, _ in ready:
                if descriptor == self._wake_read:
                    self._epoll.unregister(descriptor)
                    deadline = time.monotonic() + _FLUSH_SECONDS
                    continue
                data = os.read(descriptor, _READ)
                if data:
                    self._streams[descriptor].feed(data, self.limit)
                else:
                    self._close(descriptor)
            if deadline is not None and (not ready or time.monotonic() > deadline):
                break
        for descriptor in list(self._streams):
            self._close(descriptor)
        self._epoll.close()
        os.close(self._wake_read)

    def _close(self, descriptor: int) -> None:
        self._streams.pop(descriptor).finish(self.limit)
        self._epoll.unregister(descriptor)
        os.close(descriptor)


def capture_output(pump: Pump, stdout: Log, stderr: Log, *, merge: bool, prefix: bool) -> None:
    """Put pipes in place of descriptors 1 and 2, for this process and its children to come.

    With `merge` both are one pipe, which keeps the order of what is written to them.
    """
    out = pump.pipe(Lines(stderr if merge else stdout, origin=b"stdout: " if prefix and not merge else b""))
    err = out if merge else pump.pipe(Lines(stderr, origin=b"stderr: " if prefix else b""))
    for descriptor, target in ((out, 1), (err, 2)):
        os.dup2(descriptor, target)
    for descriptor in {out, err}:
        os.close(descriptor)


def release_output(stdout: int, stderr: int) -> None:
    """Put the real descriptors back, so that the pipes have no writer left in this process."""
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
