"""`Launching`: the control process's side of the launcher, which it starts when it is first needed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import StartFailed
from hilbert.kit import handover
from hilbert.kit.aio import spawn
from hilbert.runtimes.oci.messages import LAUNCH_MOST, Ended, FromLauncher, Launch, Launched, Spare, ToLauncher
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.monitor import Ending

_ANSWER_MOST: Final = 10.0
_ENDING_MOST: Final = 1.0
"""Seconds for the end of a process to be told of, once it is seen."""
_SIGNAL_MOST: Final = 0.2
"""The same for one that may as well go on."""

_decoder = msgspec.json.Decoder(type=FromLauncher)


class EndTold(Ending):
    """The end of a process that the launcher waits for."""

    known = True

    def __init__(self, status: asyncio.Future[int]) -> None:
        self._status = status

    async def wait(self) -> tuple[str, int]:
        return await self._told(_ENDING_MOST) or await super().wait()

    async def by_signal(self) -> str:
        """How a signal has ended it, in words. Empty: none has, or that is not known."""
        how, number = await self._told(_SIGNAL_MOST) or ("", 0)
        return how if number else ""

    async def _told(self, within: float) -> tuple[str, int] | None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(within):
                return proc.describe_status(await asyncio.shield(self._status), through_parent=True)
        return None


def kill_sandbox(outer: int, mark: str) -> None:
    """End a sandbox that is being made: bubblewrap's process, and what it may just have started. `mark` is empty for a spare."""
    if outer:
        proc.kill_tree(outer)
    if mark:
        proc.kill_marked(mark)


class Launching:
    """`close` it at the end: what was launched goes on."""

    def __init__(self, run_dir: Path) -> None:
        """`run_dir` is told to the launcher for an administrator who asks whose it is."""
        self._run_dir = run_dir
        self._control: socket.socket | None = None
        self._child = 0
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._statuses: dict[int, asyncio.Future[int]] = {}

    async def launch(self, order: Launch, descriptors: Sequence[int]) -> tuple[int, EndTold]:
        """Start what the order says; `request` is filled in here. bubblewrap's process, and how it will have ended.

        The descriptors stay the caller's. Raises `StartFailed`.
        """
        pid = await self._ask(order, descriptors, order.mark)
        return pid, EndTold(self._statuses[pid])

    async def spare(self, info: int) -> int:
        """Start a process that makes a network for itself, says so at `info`, and waits for an order. Raises `StartFailed`."""
        return await self._ask(Spare(request=0), [info], "")

    async def _ask(self, order: ToLauncher, descriptors: Sequence[int], mark: str) -> int:
        request = next(self._numbers)
        message = msgspec.json.encode(msgspec.structs.replace(order, request=request))
        if len(message) > LAUNCH_MOST:
            raise StartFailed("a replica could not be started: its order is too long")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked[request] = answer
        try:
            async with asyncio.timeout(_ANSWER_MOST):
                await self._send(message, descriptors)
                try:
                    pid = await asyncio.shield(answer)
                except asyncio.CancelledError:
                    kill_sandbox(await answer, mark)  # It comes within a moment, and nobody else knows of it.
                    raise
        except (TimeoutError, OSError) as exc:
            self._part()
            raise StartFailed("a replica could not be started: the launcher does not answer", detail=str(exc)) from exc
        finally:
            self._asked.pop(request, None)
        if not pid:
            raise StartFailed("a replica could not be started: the process that waited for it has ended")
        return pid

    async def close(self) -> None:
        self._part()
        await self._reap()

    async def _reap(self) -> None:
        if self._child:
            child, self._child = self._child, 0
            with contextlib.suppress(ChildProcessError):
                await asyncio.to_thread(os.waitpid, child, 0)

    async def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        if self._control is None:
            await self._reap()
            if self._control is None:
                self._start()
        while self._control is not None:
            try:
                handover.send(self._control, message, descriptors)
                return
            except BlockingIOError:
                await asyncio.sleep(0.001)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        command = [sys.executable, "-P", "-m", "hilbert.runtimes.oci.launcher", "3"]
        with theirs:
            kept = os.dup(theirs.fileno())  # Never 3 itself, which would not be inherited then.
            try:
                self._child = os.posix_spawn(
                    command[0],
                    command,
                    {
                        "PATH": "/usr/bin:/bin",
                        "LANG": "C.UTF-8",
                        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                        "HILBERT_RUN_DIR": str(self._run_dir),
                    },
                    file_actions=[(os.POSIX_SPAWN_DUP2, kept, 3)],
                    setsid=True,
                    setsigmask=[],
                    setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
                )
            finally:
                os.close(kept)
        self._control = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear, ours)

    def _hear(self, control: socket.socket) -> None:
        try:
            message, descriptors = handover.receive(control)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        handover.close(descriptors)
        if not message:
            self._part()
            spawn(self._reap(), name="reap the launcher")
            return
        match _decoder.decode(message):
            case Launched(request=request, pid=pid):
                self._statuses.setdefault(pid, asyncio.get_running_loop().create_future())
                answer = self._asked.get(request)
                if answer is not None and not answer.done():
                    answer.set_result(pid)
            case Ended(pid=pid, status=status):
                ended = self._statuses.pop(pid, None)
                if ended is not None and not ended.done():
                    ended.set_result(status)

    def _part(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            asyncio.get_running_loop().remove_reader(control.fileno())
            control.close()
        gone = ConnectionError("the launcher has ended")
        statuses, self._statuses = self._statuses, {}
        for waiting in (*self._asked.values(), *statuses.values()):
            if not waiting.done():
                waiting.set_exception(gone)
                waiting.exception()  # Seen, even if nobody waits for it.
