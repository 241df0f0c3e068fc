"""Watching one replica: its end by a pidfd, its readiness by one waiting request, its health by a few a minute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from hilbert.core.model import Endpoint
from hilbert.core.ports import Handle, Observed
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1.ask import ask
from hilbert.runtimes.process import proc
from hilbert.runtimes.process.handle import ReplicaData

_ASK_FIRST: Final = 0.01
_ASK_MOST: Final = 0.5
"""Seconds between readiness requests that were answered with "not yet": doubling from the first to the most."""
_ANSWER_MOST: Final = 10.0
"""Seconds for a readiness request to be answered before another is sent."""
_REAP_MOST: Final = 1.0
"""Seconds for a sandbox's parent process to end after the replica."""


class Monitor:
    """What this process knows of a replica that it started or took back. Made on demand, from the handle alone."""

    def __init__(
        self,
        handle: Handle,
        descriptor: int,
        *,
        child: int,
        explain: Callable[[Handle], Awaitable[tuple[str, str]]],
        changed: Callable[[str], None],
    ) -> None:
        """`descriptor` is a pidfd, taken over. `child` is the process to wait for, 0 if it is not ours.

        `explain` gives, after the end, the reason (`OOMKilled` or nothing) and the last line written.
        """
        self.handle = handle
        self.data = ReplicaData.of(handle)
        self.state = "starting"
        self.may_serve = not child
        """It may have calls: it has been ready, or was taken back and may have been ready before."""
        self.probing = False
        """A health request is under way, or the next of a series."""
        self.exited = asyncio.Event()
        self.answered = asyncio.Event()
        """The first readiness request has been answered, whatever the answer, or the replica has ended."""
        self._descriptor = descriptor
        self._child = child
        self._explain = explain
        self._changed = changed
        self._reason = ""
        self._message = ""
        self._closed = False
        asyncio.get_running_loop().add_reader(descriptor, self._ended)
        self._ready = spawn(self._await_ready(), name=f"readiness {handle.replica}")
        self._reaper: asyncio.Task[None] | None = None

    @property
    def ref(self) -> FunctionRef:
        return self.handle.ref

    def observed(self) -> Observed:
        answers = self.state in ("ready", "unhealthy")
        return Observed(
            replica=self.handle.replica,
            state=self.state,
            endpoint=Endpoint(self.handle.replica, f"unix:{self.data.socket}") if answers else None,
            reason=self._reason,
            message=self._message,
            placement=self.data.placement,
        )

    def signal(self, number: signal.Signals) -> None:
        if not self._closed:
            proc.send(self._descriptor, number)

    async def probe(self, within: float) -> bool:
        """One health request. True when it was answered well in time, or the replica is not to be asked now."""
        if self.state != "ready":
            return True
        status = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                status = await ask(f"unix:{self.data.socket}", self.data.health)
        return self.state != "ready" or 200 <= status < 400

    def fail(self, message: str) -> None:
        """It does not answer any more."""
        if self.state == "ready":
            self.state, self._reason, self._message = "unhealthy", "ProbeFailing", message
            self._changed(self.handle.replica)

    async def close(self) -> None:
        """Look no more. The replica goes on."""
        await cancel(self._ready, self._reaper)
        self._release()

    def _release(self) -> None:
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)

    async def _await_ready(self) -> None:
        pause = _ASK_FIRST
        while True:
            status = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_MOST):
                    status = await ask(f"unix:{self.data.socket}", self.data.ready)
            if 200 <= status < 400:
                self.state = "ready"
                self.may_serve = True
                self.answered.set()
                self._changed(self.handle.replica)
                return
            if status:
                self.answered.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _ASK_MOST)

    def _ended(self) -> None:
        self._release()
        self._ready.cancel()
        self._reaper = spawn(self._reap(), name=f"reap {self.handle.replica}")

    async def _reap(self) -> None:
        how, number = await self._wait()
        reason, last = await self._explain(self.handle)
        self._reason = reason if number == signal.SIGKILL and reason else "Exited"
        self._message = f"a replica ran out of memory and {how}" if self._reason == "OOMKilled" else f"a replica {how}"
        if last:
            self._message += f": {last}"
        self.state = "exited"
        self.exited.set()
        self.answered.set()
        self._changed(self.handle.replica)

    async def _wait(self) -> tuple[str, int]:
        """How the replica ended, if that can be known: the end of an adopted one goes to its new parent."""
        if not self._child:
            return "ended", signal.SIGKILL
        pause = 0.001
        for _ in range(20):
            try:
                pid, status = os.waitpid(self._child, os.WNOHANG)  # noqa: ASYNC222 - does not wait
            except ChildProcessError:
                break
            if pid:
                through_parent = self._child != self.data.pid
                return proc.describe_status(status, through_parent=through_parent)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _REAP_MOST / 10)
        return "ended", signal.SIGKILL
