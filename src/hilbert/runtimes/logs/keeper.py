"""The log keeper: copies what replicas write from their pipes to files, within bounds, whoever else is away.

A replica holds nothing but the writing end of a pipe: it cannot truncate, seek, fill or remove a file. Its pipe is
emptied in pieces, in turn with all others, at no more than `_RATE` bytes a second in all: who writes faster waits for its
own pipe. Files take `limit` bytes a replica at every moment, and of replicas that are gone the newest `OLD_KEPT` are left.

Synchronous and single-threaded. Requests are served before output, so that what is dropped takes no more lines.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import select
import socket
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.core.limits import LogUse
from hilbert.runtimes.logs.byte_rate import ByteRate
from hilbert.runtimes.logs.layout import EARLIER, LIVE, OLD, replica_of
from hilbert.runtimes.logs.protocol import (
    REQUEST_MOST,
    USES_MOST,
    Drop,
    Flush,
    Keep,
    Request,
    Retire,
    Slow,
    Use,
    Uses,
    decode,
    encode_uses,
)

_log = structlog.get_logger("hilbert.logs")

OLD_KEPT: Final = 5
"""Logs kept of a function's replicas that are gone; the newest."""

_RATE: Final = 16 << 20
"""Bytes a second that are copied from all pipes together."""
_BURST: Final = 4 << 20
_PIECE: Final = 65536
_PIPE_MOST: Final = 2 << 20
"""More than a pipe can hold: a flush ends there, also while the replica goes on writing."""
_CLIENTS_MOST: Final = 8
_UNSENT_MOST: Final = 1 << 20
"""Bytes of answers that nobody has read, for each of those that ask."""
_PAUSED_EVERY: Final = 0.05
"""Seconds between looks at whether a pipe that is left alone may be read again."""
_GATHERED: Final = 0.005
"""Seconds for which pipes are left alone after little has come, so that lines which come one by one are copied together. Whoever wants
all that there is asks for it (`Flush`)."""
_TURNS: Final = 64
"""Pipes emptied by a piece before requests are looked at again."""


class _Output:
    """One replica's pipe, and where what comes out of it goes."""

    def __init__(self, request: Keep, pipe: int, folder: int | None) -> None:
        self.namespace = request.namespace
        self.function = request.function
        self.replica = request.replica
        self.pipe = pipe
        self.folder = folder
        """The function's; None: what comes is thrown away."""
        self.file: int | None = None
        self.size = 0
        self.failing = False
        self.bare = request.bare
        self._inside_line = False
        self.paces: tuple[ByteRate, ...] = ()
        """Bounds that it shares."""
        self.paused = False
        """It has written more than those allow: its pipe is left alone."""

    def stamped(self, data: bytes) -> bytes:
        """With the time before each line that begins in it."""
        now = time.time_ns()
        stamp = b"%b.%09dZ " % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)).encode(), now % 10**9)
        *whole, rest = data.split(b"\n")
        first = b"" if self._inside_line else stamp
        self._inside_line = bool(rest) or (self._inside_line and not whole)
        lines = (b"\n" + stamp).join(whole) + b"\n" if whole else b""
        if not whole:
            return first + rest
        return first + lines + (stamp + rest if rest else b"")

    def close_file(self) -> None:
        if self.file is not None:
            os.close(self.file)
        self.file = None

    def discard(self) -> None:
        """Throw away what comes from now on."""
        self.close_file()
        if self.folder is not None:
            os.close(self.folder)
        self.folder = None

    def write(self, data: bytes, half: int) -> None:
        """Append, in files of at most `half` bytes. Raises `OSError`."""
        while data and self.folder is not None:
            if self.file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self.file = os.open(f"{self.replica}{LIVE}", flags, 0o600, dir_fd=self.folder)
                self.size = os.fstat(self.file).st_size
            room = half - self.size
            piece = data[: max(0, room)]
            if len(piece) < len(data):  # At the end of a line, where there is one.
                piece = piece[: piece.rfind(b"\n") + 1] or (piece if self.size < half // 2 else b"")
            while piece:
                written = os.write(self.file, piece)
                self.size += written
                piece, data = piece[written:], data[written:]
            if data:
                self.close_file()
                name = f"{self.replica}{LIVE}"
                os.rename(name, f"{name}{EARLIER}", src_dir_fd=self.folder, dst_dir_fd=self.folder)


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.unsent = b""
        """Answers that the socket had no room for."""
        self.waits = False
        """For room."""


class Keeper:
    """Serves `listener` and the pipes in `pipes`, until `stop`."""

    def __init__(
        self, logs: Path, pipes: Path, *, limit: int, listener: socket.socket | None = None, descriptors: int = 1024
    ) -> None:
        """`limit` is in bytes, for each replica. `descriptors` is how many the process may open; a replica takes three."""
        self._crowded = descriptors * 5 // 8
        """A replica whose pipe has a higher number gets no file: what it writes is thrown away, so that it need not wait."""
        self._logs = logs
        self._pipes = pipes
        self._half = max(limit // 2, 4096)
        self._listener = listener
        self._outputs: dict[str, _Output] = {}
        self._by_pipe: dict[int, _Output] = {}
        self._clients: dict[int, _Client] = {}
        self._requests = select.epoll()
        self._sources = select.epoll()
        self._everything = select.epoll()
        self._paces: dict[tuple[str, str], ByteRate] = {}
        self._paused: dict[str, _Output] = {}
        self._reading = True
        self._allowance = float(_BURST)
        self._refilled = time.monotonic()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = False
        for one in (self._requests, self._sources):
            self._everything.register(one.fileno(), select.EPOLLIN)
        self._requests.register(self._wake_read, select.EPOLLIN)
        if listener is not None:
            listener.setblocking(False)
            self._requests.register(listener.fileno(), select.EPOLLIN)

    def stop(self) -> None:
        """End `run` soon. Safe to call from another thread and from a signal handler."""
        self._stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def join(self, connection: socket.socket) -> None:
        """Serve this connection, too. Before `run` only."""
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection)
        self._requests.register(connection.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Copy until `stop`; then empty every pipe once more, so that nothing waits for a successor longer than it must."""
        gathering = False
        while not self._stopping:
            self._pace()
            if not self._reading:
                requests = self._requests.poll(0.01)
            elif gathering:
                requests = self._requests.poll(_GATHERED)
            else:
                self._everything.poll(_PAUSED_EVERY if self._paused else -1)
                requests = self._requests.poll(0)
            for descriptor, events in requests:
                if self._listener is not None and descriptor == self._listener.fileno():
                    self._accept(self._listener)
                elif descriptor in self._clients:
                    if events & select.EPOLLOUT:
                        self._answer(self._clients[descriptor])
                    if events & ~select.EPOLLOUT and descriptor in self._clients:
                        self._serve(self._clients[descriptor])
            if self._reading:
                copied = [
                    self._copy(self._by_pipe[pipe])
                    for pipe, _ in self._sources.poll(0, _TURNS)
                    if pipe in self._by_pipe
                ]
                gathering = sum(copied) > 0 and max(copied) < _PIECE // 4 and len(copied) < _TURNS
        for output in list(self._outputs.values()):
            self._empty(output)

    def close(self) -> None:
        """Give back all descriptors but the listener."""
        for output in list(self._outputs.values()):
            self._forget(output)
        for client in list(self._clients.values()):
            self._leave(client)
        for one in (self._everything, self._requests, self._sources):
            one.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _pace(self) -> None:
        """Stop looking at pipes while the allowance is used up."""
        now = time.monotonic()
        self._allowance = min(_BURST, self._allowance + (now - self._refilled) * _RATE)
        self._refilled = now
        for output in [one for one in self._paused.values() if not any(pace.wait() for pace in one.paces)]:
            self._resume(output)
        self._reading = self._allowance > 0

    # Requests

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            if len(self._clients) >= _CLIENTS_MOST:
                connection.close()
                return
            self.join(connection)

    def _serve(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, client.received = (client.received + data).split(b"\n")
        if not data or len(client.received) > REQUEST_MOST:
            self._leave(client)
        for line in lines:
            try:
                request = decode(line)
            except msgspec.MsgspecError as exc:
                _log.error("log keeper: request not understood", reason=str(exc))
                continue
            said = b""
            try:
                said = self._do(request)
            except OSError as exc:
                _log.warning("log keeper: request failed", request=type(request).__name__, reason=str(exc))
            client.unsent += b"%d %b\n" % (request.number, said) if said else b"%d\n" % request.number
        self._answer(client)

    def _answer(self, client: _Client) -> None:
        """Send what there is room for, and the rest when there is."""
        if client.connection.fileno() < 0:
            return
        waited = client.waits
        try:
            while client.unsent:
                client.unsent = client.unsent[client.connection.send(client.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._leave(client)
            return
        if len(client.unsent) > _UNSENT_MOST:  # Nobody reads them: whoever asks again gets them again.
            self._leave(client)
            return
        client.waits = bool(client.unsent)
        if client.waits != waited:
            self._requests.modify(client.connection.fileno(), select.EPOLLIN | (select.EPOLLOUT if client.waits else 0))

    def _leave(self, client: _Client) -> None:
        descriptor = client.connection.fileno()
        if self._clients.pop(descriptor, None) is not None:
            self._requests.unregister(descriptor)
            client.connection.close()

    def _do(self, request: Request) -> bytes:
        """What there is to say besides that it is done. Raises `OSError`."""
        match request:
            case Keep():
                self._keep(request)
            case Flush():
                if request.replica in self._outputs:
                    self._empty(self._outputs[request.replica])
            case Retire():
                self._retire(request)
            case Drop():
                for output in self._outputs.values():
                    if output.namespace == request.namespace and request.function in ("", output.function):
                        output.discard()
            case Slow():
                self._slow(request)
            case Uses():
                return encode_uses(self._uses(request))
        return b""

    def _uses(self, request: Uses) -> Sequence[Use]:
        after = (request.namespace, request.function)
        used = (
            (scope, LogUse(round(pace.used(), 1), pace.waited)) for scope, pace in self._paces.items() if scope > after
        )
        named = ((*scope, use) for scope, use in used if use.rate or use.waited)
        return heapq.nsmallest(USES_MOST, named, key=lambda one: one[:2])

    def _slow(self, request: Slow) -> None:
        scope = (request.namespace, request.function)
        known = self._paces.get(scope)
        if known is not None and known.rate == request.rate:
            return  # Told anew, by a control process that has just started: nobody gets a second's worth for that.
        if request.rate:
            self._paces[scope] = ByteRate(request.rate)
        else:
            self._paces.pop(scope, None)
        for output in self._outputs.values():
            if output.namespace == request.namespace:
                output.paces = self._paces_of(output)

    def _paces_of(self, output: _Output) -> tuple[ByteRate, ...]:
        scopes = ((output.namespace, ""), (output.namespace, output.function))
        return tuple(self._paces[scope] for scope in scopes if scope in self._paces)

    def _pause(self, output: _Output) -> None:
        output.paused = True
        for pace in output.paces:
            pace.waited += pace.wait() > 0
        self._paused[output.replica] = output
        self._sources.unregister(output.pipe)

    def _resume(self, output: _Output) -> None:
        output.paused = False
        self._paused.pop(output.replica, None)
        if output.pipe >= 0:
            self._sources.register(output.pipe, select.EPOLLIN)

    def _keep(self, request: Keep) -> None:
        known = self._outputs.get(request.replica)
        path = self._pipes / request.replica
        if known is not None:
            if known.pipe >= 0 and os.path.samestat(path.lstat(), os.fstat(known.pipe)):
                return
            self._empty(known)
            self._forget(known)
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        folder: int | None = None
        try:
            if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
                raise OSError(errno.EINVAL, "not a pipe", request.replica)
            if pipe > self._crowded:
                _log.warning(
                    "a replica's output is discarded: too few file descriptors are left", replica=request.replica
                )
            else:
                with contextlib.suppress(FileNotFoundError):
                    where = self._logs / request.namespace / request.function
                    folder = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            output = _Output(request, pipe, folder)
            output.paces = self._paces_of(output)
            self._sources.register(pipe, select.EPOLLIN)
        except BaseException:
            os.close(pipe)
            if folder is not None:
                os.close(folder)
            raise
        self._outputs[request.replica] = self._by_pipe[pipe] = output

    def _retire(self, request: Retire) -> None:
        output = self._outputs.get(request.replica)
        if output is not None:
            self._empty(output)
            dropped = output.folder is None
            self._forget(output)
            if dropped:
                (self._pipes / request.replica).unlink(missing_ok=True)
                return
        (self._pipes / request.replica).unlink(missing_ok=True)
        folder = self._logs / request.namespace / request.function
        for end in ("", EARLIER):
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{request.replica}{LIVE}{end}").rename(folder / f"{request.replica}{OLD}{end}")
        _trim(folder)

    def _forget(self, output: _Output) -> None:
        self._close_pipe(output)
        output.discard()
        self._outputs.pop(output.replica, None)

    def _close_pipe(self, output: _Output) -> None:
        if output.pipe >= 0:
            del self._by_pipe[output.pipe]
            if output.paused:
                output.paused = False
                self._paused.pop(output.replica, None)
            else:
                self._sources.unregister(output.pipe)
            os.close(output.pipe)
            output.pipe = -1

    # Output

    def _copy(self, output: _Output) -> int:
        """Copy one piece; how many bytes it had, 0 when there was none."""
        if output.pipe < 0:
            return 0
        try:
            data = os.read(output.pipe, _PIECE)
        except BlockingIOError:
            return 0
        if not data:  # Nobody is left who could write.
            self._close_pipe(output)
            output.close_file()
            return 0
        if output.bare:
            data = output.stamped(data)
        self._allowance -= len(data)
        for pace in output.paces:
            pace.take(len(data))
        if not output.paused and any(pace.wait() for pace in output.paces):
            self._pause(output)
        try:
            output.write(data, self._half)
        except OSError as exc:  # A full disk costs lines, and nothing else.
            output.close_file()
            if not output.failing:
                _log.warning("output of a replica is lost", replica=output.replica, reason=exc.strerror)
            output.failing = True
        else:
            output.failing = False
        return len(data)

    def _empty(self, output: _Output) -> None:
        """Copy what is in the pipe now."""
        copied = 0
        while copied < _PIPE_MOST and (count := self._copy(output)):
            copied += count


def _trim(folder: Path) -> None:
    """Remove the logs of all replicas that are gone but the newest."""
    try:
        old = [path for path in folder.iterdir() if path.suffix == OLD]
    except OSError:
        return
    old.sort(key=lambda path: path.stat().st_mtime_ns)
    for path in old[:-OLD_KEPT]:
        for end in ("", EARLIER):
            path.with_name(f"{replica_of(path.name)}{OLD}{end}").unlink(missing_ok=True)
