"""One process per request: starting it, feeding it and reading from it, with back-pressure in both directions.

All on the event loop: `posix_spawn` takes less than a hand-over to a thread would, and the waiting is the kernel's.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from hilbert.watchdog.child import CALL_MARK, Child, adopt_orphans, end_left_behind, find_program, spawn
from hilbert.watchdog.config import ConfigError
from hilbert.watchdog.event import canonical

if TYPE_CHECKING:
    from hilbert.kit.epoll.interface import Loop
    from hilbert.watchdog.call import Call
    from hilbert.watchdog.config import Config
    from hilbert.watchdog.errors import Errors

_READ: Final = 65536
_PENDING: Final = 262144
"""Bytes that may wait for the process to read them before the client is told to wait."""

_STDERR: Final = 2

_SWEEP: Final = 0.01
"""Seconds from the end of a call to the look for what it has left behind: one look for all calls that end meanwhile."""
_AGAIN: Final = 0.05
"""Seconds until the next look, while there is some."""


class Forker:
    """Starts the function's process for each call."""

    def __init__(self, config: Config, env: Mapping[str, str], loop: Loop, errors: Errors) -> None:
        """`errors` takes the standard error of calls that have an id. Raises `ConfigError` when the command is not there."""
        try:
            self._path = find_program(config.command[0], env.get("PATH", os.defpath))
        except FileNotFoundError as exc:
            raise ConfigError(f"fprocess {config.process_text!r}: {exc}") from exc
        self._argv = config.command
        self._classic = config.mode == "classic"
        self._cgi = config.cgi_headers or not self._classic
        self._env = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        self._loop = loop
        self._errors = errors
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.running: dict[Child, bytes] = {}
        """Each with the mark of its call."""
        self._count = 0
        self._sweep_due = False
        adopt_orphans()

    def start(self, call: Call, owner: Owner, *, body: bool, combine: bool = False) -> Process:
        """Start a process for `call`; without `body` its standard input is empty. Raises `OSError`."""
        self._count += 1
        mark = b"%d" % self._count
        process = Process(self._loop, owner, self._ended)
        stdin = self._null
        opened: list[int] = []
        try:
            if body:
                stdin, process.stdin = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                os.set_blocking(stdin, True)  # The reading end's flag belongs to the child.
                opened.append(stdin)
            process.stdout, stdout = os.pipe2(os.O_CLOEXEC)
            opened.append(stdout)
            os.set_blocking(process.stdout, False)
            env = self._env | self._call_environment(call) if self._cgi else dict(self._env)
            env[CALL_MARK] = mark
            stderr = stdout if combine else _STDERR
            if not combine and call.id:
                stderr = self._errors.pipe(call.id)
                opened.append(stderr)
            child = spawn(self._path, self._argv, env, stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError:
            process.discard()
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
        self.running[child] = mark
        process.watch(child)
        return process

    def close(self) -> None:
        for child in self.running:
            child.kill()
        end_left_behind(())
        self._errors.close()

    def _ended(self, child: Child) -> None:
        """A call's process is over, and so is what it has left behind in groups of its own."""
        self.running.pop(child, None)
        if not self._sweep_due:
            self._sweep_due = True
            self._loop.call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._sweep_due = end_left_behind(set(self.running.values()))
        if self._sweep_due:
            self._loop.call_later(_AGAIN, self._sweep)

    def _call_environment(self, call: Call) -> dict[bytes, bytes]:
        request = call.request
        found = {
            variable: value.rstrip(b" \t")
            for name, value in reversed(request.headers)
            if (variable := _variables.get(name) or _variable(name))
        }
        found.pop(_NO_VARIABLE, None)
        found[b"Http_Method"] = request.method
        if call.raw_query:
            found[b"Http_Query"] = call.raw_query
        if call.raw_path:
            found[b"Http_Path"] = _decoded(call.raw_path)
        if self._classic:
            length = b"-1" if request.length is None else b"%d" % request.length
            found[b"Http_ContentLength"] = found[b"Http_Content_Length"] = length
            found[b"Http_Host"] = call.header(b"host")
        return found


class Owner(Protocol):
    """What is told about a process. Called on the event loop."""

    def on_output(self, data: bytes) -> None: ...

    def on_room(self) -> None:
        """There is room for more input than when `Process.feed` returned False. May come without need."""
        ...

    def on_exit(self, status: int) -> None:
        """The process has ended and all its output was delivered. A negative status is a signal's number."""
        ...


class Process:
    """The process of one call and its pipes."""

    def __init__(self, loop: Loop, owner: Owner, ended: Callable[[Child], None]) -> None:
        """`ended` is told when the process is gone."""
        self._loop = loop
        self._owner = owner
        self._gone = ended
        self._child: Child | None = None
        self._pending: deque[memoryview] = deque()
        self._waiting = 0
        self._ending = False
        self._writing = False
        self._reading = False
        self._status: int | None = None
        self._silent = False
        self.stdin = -1
        self.stdout = -1

    def watch(self, child: Child) -> None:
        self._child = child
        self._loop.add_reader(child.pidfd, self._ended)
        self.resume()

    def feed(self, data: bytes) -> bool:
        """Give input to the process; False asks to wait for `Owner.on_room`."""
        if self.stdin >= 0:
            self._pending.append(memoryview(data))
            self._waiting += len(data)
            if not self._writing:
                self._flush()
        return self._waiting < _PENDING

    def feed_end(self) -> None:
        """The process gets no more input."""
        self._ending = True
        if not self._pending:
            self._close_stdin()

    def pause(self) -> None:
        """Deliver no more output for now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.stdout)

    def resume(self) -> None:
        if not self._reading and self.stdout >= 0:
            self._reading = True
            self._loop.add_reader(self.stdout, self._read)

    def stop(self) -> None:
        """Kill the process with its descendants; nothing is told any more."""
        self._silent = True
        if self._child is not None:
            self._child.kill()
        self._close_stdin()
        self._close_stdout()

    def discard(self) -> None:
        """Close what was opened for a process that did not start."""
        for descriptor in (self.stdin, self.stdout):
            if descriptor >= 0:
                os.close(descriptor)
        self.stdin = self.stdout = -1

    def _flush(self) -> None:
        was_full = self._waiting >= _PENDING
        while self._pending:
            head = self._pending[0]
            try:
                count = os.write(self.stdin, head)
            except BlockingIOError:
                break
            except BrokenPipeError:
                self._close_stdin()  # It does not want the rest; its output still counts.
                break
            self._waiting -= count
            if count < len(head):
                self._pending[0] = head[count:]
            else:
                self._pending.popleft()
        if self.stdin >= 0:
            if self._pending and not self._writing:
                self._writing = True
                self._loop.add_writer(self.stdin, self._flush)
            elif not self._pending and self._writing:
                self._writing = False
                self._loop.remove_writer(self.stdin)
            if not self._pending and self._ending:
                self._close_stdin()
        if was_full and self._waiting < _PENDING and not self._silent:
            self._owner.on_room()

    def _close_stdin(self) -> None:
        self._pending.clear()
        self._waiting = 0
        if self.stdin >= 0:
            if self._writing:
                self._writing = False
                self._loop.remove_writer(self.stdin)
            os.close(self.stdin)
            self.stdin = -1

    def _read(self) -> None:
        try:
            data = os.read(self.stdout, _READ)
        except BlockingIOError:
            return
        if data:
            self._owner.on_output(data)
        else:
            self._close_stdout()
            self._settle()

    def _close_stdout(self) -> None:
        if self.stdout >= 0:
            self.pause()
            os.close(self.stdout)
            self.stdout = -1

    def _ended(self) -> None:
        child = self._child
        if child is None:
            return
        self._loop.remove_reader(child.pidfd)
        status = child.reap()
        if status is None:
            self._loop.add_reader(child.pidfd, self._ended)
            return
        self._gone(child)
        self._status = status
        self._close_stdin()
        self._settle()

    def _settle(self) -> None:
        """Tell of the end once the process is gone and its output is read."""
        if self._status is not None and self.stdout < 0 and not self._silent:
            self._silent = True
            self._owner.on_exit(self._status)


_OWN: Final = frozenset({b"host", b"method", b"path", b"query"})
"""Headers whose variables are the watchdog's own, so that no caller can set them."""


def _decoded(path: bytes) -> bytes:
    """A path without percent-encoding, as Go's `URL.Path`; one with a NUL, which no variable can hold, stays as it came."""
    if b"%" not in path:
        return path
    from urllib.parse import unquote_to_bytes

    decoded = unquote_to_bytes(path)
    return path if b"\0" in decoded else decoded


_NO_VARIABLE: Final = b"-"
"""Stands for a header of `_OWN`."""

_variables: dict[bytes, bytes] = {}
"""By name as it was sent: the same few come with every call."""


def _variable(name: bytes) -> bytes:
    """`x-call-id` as `Http_X_Call_Id`; remembered, within a bound."""
    known = _NO_VARIABLE
    if name.lower() not in _OWN:
        known = b"Http_" + canonical(name.decode("latin-1")).replace("-", "_").encode("latin-1")
    if len(_variables) < 1000 and len(name) <= 64:
        _variables[name] = known
    return known
