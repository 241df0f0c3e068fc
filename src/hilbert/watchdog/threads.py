"""Threads for handlers that block: started when needed, bounded, and never waited for at the end.

Not `concurrent.futures`: its import costs as much time as the interpreter's start, and it joins its threads at exit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Threads:
    """Runs work on at most `size` threads, in the order in which it was given.

    Work that overran its time may be written off, so that others are not stuck behind it: up to `size` further threads
    take the place of such ones, until they return.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._written_off = 0
        self._threads = 0
        self._idle = 0
        self._work: deque[Callable[[], None]] = deque()
        self._change = threading.Condition(threading.Lock())

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
        return self._size + min(self._written_off, self._size)

    def _grow(self) -> None:
        if self._threads < self._bound():
            try:
                threading.Thread(target=self._run, name=f"handler-{self._threads + 1}", daemon=True).start()
            except RuntimeError:  # A limit on processes or memory: the threads that there are have to do.
                if not self._threads:
                    self._work.pop()
                    raise
            else:
                self._threads += 1

    def _run(self) -> None:
        while True:
            with self._change:
                if self._threads > self._bound():
                    self._threads -= 1
                    return
                while not self._work:
                    self._idle += 1
                    self._change.wait()
                    self._idle -= 1
                work = self._work.popleft()
            work()
            del work  # Nothing of the last call is kept alive while waiting for the next.
