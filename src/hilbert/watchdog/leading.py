"""Which thread runs the event loop of plain handlers: one leads, and calls short handlers itself.

To hand a call to another thread and its answer back costs more than all else of a short call. So the thread that runs the loop calls
the handler, too, as long as calls are short. A handler that keeps the loop loses it: another thread takes the loop over, and the
handler goes on where it is. The next calls of it go to threads of their own at once, until it is tried again.

The main thread does neither: it watches, and is free for signals. So handlers never run on it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from hilbert.watchdog.threads import Threads

if TYPE_CHECKING:
    from hilbert.kit.epoll.loop import EpollLoop

_TICK: Final = 0.005
"""Seconds between two looks at the loop. A handler that keeps it has it for two of them at most."""
_LOOKS: Final = 40
"""Looks that find no new call, after which the next call wakes the watcher: an idle replica sleeps."""

_SHORT: Final = 0.0002
"""Seconds that calls may take on average: beyond them, waiting side by side gains more than handing over costs."""
_LONGEST: Final = 0.002
"""Seconds that one call counts for at most: any thread may lose its processor for some milliseconds."""
_SHARE: Final = 1 / 16
"""What one call counts in the average."""
_LEAST: Final = 32
_MOST: Final = 1024
"""Calls in a row that are handed over, once calls have proved long."""


class Pace:
    """Whether calls are short, judged by those before."""

    def __init__(self) -> None:
        self._average = 0.0
        self._long = 0
        """Calls that still count as long."""
        self._spell = _LEAST

    def short(self) -> bool:
        """Whether the call that begins now is taken for a short one; then `took` or `overran` tells."""
        if self._long:
            self._long -= 1
            return False
        return True

    def took(self, seconds: float) -> None:
        """One that was taken for short has ended."""
        self._average += (min(seconds, _LONGEST) - self._average) * _SHARE
        if self._average > _SHORT:
            self.overran()
        elif self._spell > _LEAST:
            self._spell -= 1

    def overran(self) -> None:
        """Calls are long. The next ones are taken for such, and twice as many each time that this comes again soon."""
        self._average = 0.0
        self._long = self._spell
        self._spell = min(self._spell * 2, _MOST)


class Job(Protocol):
    """One call of a handler."""

    def run(self, resign: Callable[[Job], None]) -> Callable[[], None]:
        """Call the handler. Returns what is to be done on the loop then. It must not raise.

        `resign` is called with the job itself before what is sure to take long. It raises `RuntimeError` when there is no thread for
        the loop.
        """
        ...


class Crew:
    """Threads that run the loop and handlers."""

    def __init__(self, loop: EpollLoop, size: int) -> None:
        """At most `size` handlers run at once, and as many again that were written off."""
        self._loop = loop
        self._threads = Threads(size)
        self.write_off, self.regain = self._threads.write_off, self._threads.regain
        self._pace = Pace()
        self._lock = threading.Lock()
        """Held to say whose the loop is."""
        self._job: Job | None = None
        """What the thread that leads does in place of leading; None too once it has lost the loop."""
        self._jobs = 0
        self._bell = threading.Lock()
        """Held, but for a moment when the watcher is to wake."""
        self._bell.acquire()
        self._resting = self._ended = False
        self._error: BaseException | None = None
        os.register_at_fork(after_in_child=self._forked)

    def run(self) -> None:
        """Run the loop until it is stopped. To be called on the main thread. Raises `RuntimeError` when no thread can be started."""
        self._threads.lead(self._lead)
        self._watch()
        if self._error is not None:
            raise self._error

    def submit(self, job: Job) -> None:
        """Run `job`, on the loop or apart from it. To be called on the loop."""
        # In a turn of its own: if it loses the loop, it must have left nothing half done there.
        self._loop.call_soon(self._begin, job)

    # On the thread that leads

    def _lead(self) -> None:
        with self._lock:
            pass  # The one before is told first.
        try:
            if not self._loop.run_forever():
                return
        except BaseException as exc:  # noqa: BLE001 - raised again on the main thread
            self._error = exc
        self._ended = True
        self._ring()

    def _begin(self, job: Job) -> None:
        if not (self._pace.short() and self._threads.room):
            with contextlib.suppress(RuntimeError):  # There are no threads to be had: this one must do.
                self._threads.submit(lambda: self._post(job.run(_stay)))
                return
        self._job = job
        self._jobs += 1
        if self._resting:
            self._ring()
        began = time.perf_counter()
        then = job.run(self._replace)
        seconds = time.perf_counter() - began
        with self._lock:
            leads = self._job is job
            if leads:
                self._job = None
        if leads:
            self._pace.took(seconds)
            then()
        else:
            self._post(then)

    # On others

    def _post(self, then: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended before the handler.
            self._loop.call_soon_threadsafe(then)

    def _replace(self, job: Job) -> None:
        """Have another thread lead, if `job` still keeps the one that does. Raises `RuntimeError` when there is none."""
        with self._lock:
            if self._job is job:
                self._threads.lead(self._lead)
                self._job = None
                self._loop.hand_over()
                self._pace.overran()

    def _watch(self) -> None:
        seen, since, looks = None, 0, 0
        while not self._ended:
            if looks > _LOOKS:
                looks = 0
                seen = None
                self._resting = True
                if self._jobs == since and self._job is None:
                    self._bell.acquire()
                self._resting = False
            elif not self._bell.acquire(timeout=_TICK):
                job, jobs = self._job, self._jobs
                if job is not None and job is seen:
                    with contextlib.suppress(RuntimeError):  # Nobody to lead: it is tried again.
                        self._replace(job)
                looks = looks + 1 if jobs == since else 0
                seen, since = job, jobs

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # It rings already.
            self._bell.release()

    def _forked(self) -> None:
        """In a child that a handler has forked: the loop is its parent's, whoever led there."""
        self._lock = threading.Lock()
        self._job = None
        self._loop.hand_over()


def _stay(_job: Job) -> None:
    """The job has a thread of its own."""
