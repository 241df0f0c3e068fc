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
from hilbert.kit.inside import Dialer
from hilbert.kit.pace import Pace
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.handle import ReplicaData

_ASK_FIRST, _ASK_MOST = 0.002, 0.025
_ASK_AGAIN: Final = 1 / 3
"""Seconds between two readiness requests: this share of the time since the start, which is not noticed by who waits, but no
less and no more than those."""
_ASK_OFTEN: Final = 5.0
"""Seconds from the start for which readiness is asked for that often, then less."""
_ASK_SELDOM: Final = 0.25
_ANSWER_MOST: Final = 10.0
"""Seconds for a readiness request to be answered before another is sent."""
_REAP: Final = Pace(first=0.001, most=0.1)
"""Between looks at whether a sandbox's parent process has ended after the replica; twenty of them."""


class Ending:
    """How a process ended, if that can be known: the end of one that was taken back is told to its new parent alone."""

    known = False

    async def wait(self) -> tuple[str, int]:
        """In words, and the signal that ended it, 0 for none. Called once the process has ended."""
        return "ended", signal.SIGKILL


class EndOfChild(Ending):
    """Of a process that this one has started."""

    known = True

    def __init__(self, child: int, *, through_parent: bool) -> None:
        """`child` is the process to wait for. `through_parent`: it is the replica's parent, and tells of its end."""
        self._child = child
        self._through_parent = through_parent

    async def wait(self) -> tuple[str, int]:
        for looks in range(1, 21):
            try:
                pid, status = os.waitpid(self._child, os.WNOHANG)  # noqa: ASYNC222 - does not wait
            except ChildProcessError:
                break
            if pid:
                return proc.describe_status(status, through_parent=self._through_parent)
            await asyncio.sleep(_REAP.delay(looks))
        return await super().wait()


class Monitor:
    """What this process knows of a replica that it started or took back. Made on demand, from the handle alone."""

    def __init__(
        self,
        handle: Handle,
        descriptor: int,
        *,
        ending: Ending,
        dialer: Dialer,
        explain: Callable[[Handle], Awaitable[tuple[str, str]]],
        changed: Callable[[str], None],
        frozen: bool = False,
        held: bool = False,
    ) -> None:
        """`descriptor` is a pidfd, taken over. `ending` says how the process ended. A `frozen` one was ready before.

        One that is `held` is not asked anything until `let_go`.

        `explain` gives, after the end, the reason (`OOMKilled` or nothing) and the line of the log that says why.
        """
        self.handle = handle
        self.data = ReplicaData.of(handle)
        self.state = "starting"
        self.may_serve = not ending.known
        """It may have calls: it has been ready, or was taken back and may have been ready before."""
        self.probing = False
        """A health request is under way, or the next of a series."""
        self.exited = asyncio.Event()
        self.answered = asyncio.Event()
        """The first readiness request has been answered, whatever the answer, or the replica has ended."""
        self._descriptor = descriptor
        self._ending = ending
        self._dialer = dialer
        self._address = self.data.address(handle.replica)
        self._explain = explain
        self._changed = changed
        self._reason = ""
        self._message = ""
        self._said = ""
        self._answer = 0
        """Status of the last answer to a readiness request; 0 is none."""
        self._verdict = ""
        """Why it was ended, if it was for what it did."""
        self._closed = False
        asyncio.get_running_loop().add_reader(descriptor, self._ended)
        self.frozen = frozen
        """It is held where it is, and answers nothing until it goes on."""
        self._let_go = asyncio.Event()
        if not held:
            self._let_go.set()
        self._ready: asyncio.Task[None] | None = None
        if frozen:
            self.state = "ready"
            self.answered.set()
        else:
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
            endpoint=Endpoint(self.handle.replica, self._address) if answers else None,
            reason=self._reason,
            message=self._message if self.state != "starting" else self._unready(),
            said=self._said,
            placement=self.data.placement,
        )

    def let_go(self) -> None:
        """It begins only now."""
        self._let_go.set()

    def _unready(self) -> str:
        said = f"was answered with status {self._answer}" if self._answer else "got no answer"
        return f"GET {self.data.ready} {said}"

    def ask_to_end(self) -> None:
        """Also one that is stopped, which could only end by force otherwise."""
        if self._closed:
            return
        main = proc.open_first_child(self.data.pid, self._descriptor) if self.data.main == "child" else None
        for number in (self.data.end, signal.SIGCONT):
            proc.send(self._descriptor if main is None else main, signal.Signals(number))
        if main is not None:
            os.close(main)

    def condemn(self, why: str) -> None:
        """It is about to be ended for what it did."""
        self._verdict = why

    async def probe(self, within: float) -> bool:
        """One health request. True when it was answered well in time, or the replica is not to be asked now."""
        if self.state != "ready" or self.frozen:
            return True
        status = await self._ask(self.data.health, within)
        return self.state != "ready" or self.frozen or self._good(status)

    def fail(self, message: str) -> None:
        """It does not answer any more."""
        if self.state == "ready" and not self.frozen:
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

    async def _ask(self, path: str, within: float) -> int:
        """The status of one request; 0 without an answer in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                return await ask(self._address, path, dialer=self._dialer)
        return 0

    def _good(self, status: int) -> bool:
        return 200 <= status < (500 if self.data.lenient else 400)

    async def _await_ready(self) -> None:
        clock = asyncio.get_running_loop()
        await self._let_go.wait()
        began = clock.time()
        while True:
            status = self._answer = await self._ask(self.data.ready, _ANSWER_MOST)
            if self._good(status):
                self.state = "ready"
                self.may_serve = True
                self.answered.set()
                self._changed(self.handle.replica)
                return
            if status:
                self.answered.set()
            since = clock.time() - began
            often = min(max(since * _ASK_AGAIN, _ASK_FIRST), _ASK_MOST)
            await asyncio.sleep(often if since < _ASK_OFTEN else _ASK_SELDOM)

    def _ended(self) -> None:
        self._release()
        if self._ready is not None:
            self._ready.cancel()
        self._reaper = spawn(self._reap(), name=f"reap {self.handle.replica}")

    async def _reap(self) -> None:
        how, number = await self._ending.wait()
        reason, last = await self._explain(self.handle)
        self._reason = reason if number == signal.SIGKILL and reason else "Exited"
        if self._verdict:
            self._reason, how = "ScratchFull", f"was stopped: {self._verdict}"
        self._message = f"a replica ran out of memory and {how}" if self._reason == "OOMKilled" else f"a replica {how}"
        self._said = last
        self.state = "exited"
        self.exited.set()
        self.answered.set()
        self._changed(self.handle.replica)
