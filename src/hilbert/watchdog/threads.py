"""Threads for handlers that block: started when needed, bounded, and never waited for at the end.

Not `concurrent.futures`: its import costs as much time as the interpreter's start, and it joins its threads at exit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Threads:
    """Runs work on at most `size` threads, in the order in which it was given, and beside it what leads.

    Work that overran its time may be written off, so that others are not stuck behind it: up to `size` further threads
    take the place of such ones, until they return.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._written_off = 0
        self._threads = 0
        self._idle = 0
        self._leading: Callable[[], None] | None = None
        """Work that is to lead, until a thread takes it."""
        self._leaders = 0
        """Threads for that: one, from the first on."""
        self._work: deque[Callable[[], None]] = deque()
        self._change = threading.Condition(threading.Lock())

    def lead(self, work: Callable[[], None]) -> None:
        """Run `work` before all other, whatever the bound. It must not raise, and there must be one such work at a time.

        The thread on which it runs may begin other work in it, and counts as that one's from the next call of this on.
        Raises `RuntimeError` when no thread is idle and none can be started.
        """
        with self._change:
            self._leading = work
            self._leaders = 1
            if self._idle > len(self._work):
                self._change.notify()
                return
            try:
                self._start()
            except RuntimeError:
                self._leading = None
                raise

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread, as soon as one is free. It must not raise.

        Raises `RuntimeError` when there is no thread and none can be started.
        """
        with self._change:
            self._work.append(work)
            if self._idle >= len(self._work):
                self._change.notify()
            else:
                self._grow()

    @property
    def room(self) -> bool:
        """Whether the thread that leads may begin other work, and the bound will hold. To be asked on that thread."""
        return self._threads - self._idle + len(self._work) < self._bound()

    def write_off(self) -> None:
        """One thread's work has overrun; `regain` when it returns."""
        with self._change:
            self._written_off += 1
            if self._work:
                self._grow()

    def regain(self) -> None:
        """Work that was written off has returned."""
        with self._change:
            self._written_off -= 1

    def _bound(self) -> int:
        """The most threads, the one that leads among them."""
        return self._leaders + self._size + min(self._written_off, self._size)

    def _grow(self) -> None:
        if self._threads < self._bound():
            try:
                self._start()
            except RuntimeError:  # A limit on processes or memory: the threads that there are have to do.
                if self._threads <= self._leaders:
                    self._work.pop()
                    raise

    def _start(self) -> None:
        threading.Thread(target=self._run, name=f"handler-{self._threads + 1}", daemon=True).start()
        self._threads += 1

    def _run(self) -> None:
        while True:
            with self._change:
                while (work := self._take()) is None:
                    if self._threads > self._bound():
                        self._threads -= 1
                        return
                    self._idle += 1
                    self._change.wait()
                    self._idle -= 1
            work()
            del work  # Nothing of the last call is kept alive while waiting for the next.

    def _take(self) -> Callable[[], None] | None:
        """What this thread is to do now; None where there is nothing, or too many threads do it."""
        work, self._leading = self._leading, None
        if work is None and self._work and self._threads <= self._bound():
            work = self._work.popleft()
        return work
