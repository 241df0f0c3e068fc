"""Starting one process: descriptors in place, nothing inherited by accident, stopped at its gate."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from hilbert.runtimes.process.interpreter import Interpreter
from hilbert.runtimes.process.sandbox.contract import BLOCK, ENVIRONMENT, FILTER, GATE, INFO, LISTEN, Command
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.bwrap import child_of

_ABOVE: Final = 10
"""Descriptors are moved here first, so that putting one in place does not overwrite another."""
_SANE: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
"""The environment until the function's own is taken."""


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """A process that waits at its gate."""

    pid: int
    """The replica's watchdog."""
    child: int
    """The process that is ours to wait for: the same, or its parent."""
    gate: int
    """A socket that keeps messages' bounds, to write `+` to; or of a spare sandbox, an entry. Closing it without ends the process."""
    block: int
    """Descriptor to close once the process is under its limits: it starts no other before."""


async def launch(
    interpreter: Interpreter, command: Command, *, output: int, listen: int = -1, environment: Mapping[str, str] = {}
) -> Launched:
    """Start the process up to its gate. Takes over no descriptor. Raises `StartFailed` and `OSError`.

    A spare sandbox gets its socket and environment at the gate.
    """
    with contextlib.ExitStack() as ours:
        gate, theirs = map(ours.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        nothing = ours.enter_context(io.FileIO("/dev/null", "rb"))
        inherited = {0: nothing.fileno(), 1: output, 2: output, GATE: theirs.fileno()}
        if not command.entry.spare:
            inherited |= {LISTEN: listen, ENVIRONMENT: memory(ours, msgspec.json.encode(environment)).fileno()}
        if command.filter:
            inherited[FILTER] = memory(ours, command.filter).fileno()
        info_read, info_write = _pipe(ours)
        block_read, block_write = _pipe(ours)
        if command.isolated:
            inherited |= {INFO: info_write.fileno(), BLOCK: block_read.fileno()}
        entry = msgspec.structs.replace(command.entry, gate=GATE, environment=ENVIRONMENT)
        argv = [*command.argv, *interpreter.argv, msgspec.json.encode(entry).decode()]
        with _moved(inherited) as actions:
            child = os.posix_spawn(  # noqa: ASYNC221 - returns within a millisecond
                argv[0],
                argv,
                {**_SANE, **command.mark},
                file_actions=actions,
                setsid=not command.isolated,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
            )
        try:
            info_write.close()
            pid = await child_of(info_read.fileno()) if command.isolated else child
            return Launched(pid=pid, child=child, gate=os.dup(gate.fileno()), block=os.dup(block_write.fileno()))
        except BaseException:
            abandon(child)
            raise


def abandon(child: int) -> None:
    """End a child that was not wanted after all, with its own, and wait for it: it is killed, so it cannot take long."""
    with contextlib.suppress(ChildProcessError):
        proc.kill_tree(child)
        os.waitpid(child, 0)


@contextlib.contextmanager
def _moved(sources: Mapping[int, int]) -> Iterator[list[tuple[int, int, int]]]:
    """What `posix_spawn` has to do to put each source in its place."""
    moved = {target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for target, source in sources.items()}
    try:
        yield [(os.POSIX_SPAWN_DUP2, source, target) for target, source in moved.items()]
    finally:
        for source in moved.values():
            os.close(source)


def _pipe(ours: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    read, write = os.pipe2(os.O_CLOEXEC)
    return ours.enter_context(io.FileIO(read, "rb")), ours.enter_context(io.FileIO(write, "wb"))


def memory(ours: contextlib.ExitStack, content: bytes) -> io.FileIO:
    """A file in memory, to be read from its start."""
    file = ours.enter_context(io.FileIO(os.memfd_create("hilbert", os.MFD_CLOEXEC), "w+b"))
    file.write(content)
    file.seek(0)
    return file
