"""A small event loop: the part of asyncio that serving callbacks needs, over epoll.

It exists for cold starts: importing asyncio takes longer than starting the interpreter and all else that a watchdog
imports together.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from hilbert.kit.epoll.transport import Transport

if TYPE_CHECKING:
    import asyncio

_ACCEPTS: Final = 64
"""Connections taken in a row before others get their turn."""

_CANCELLED: Final = 500
"""Cancelled timers that may lie about."""

_ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting after the process ran out of descriptors."""


class EpollTimer:
    """A call to come."""

    __slots__ = ("_loop", "args", "callback", "when")

    def __init__(self, loop: EpollLoop, when: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._loop = loop
        self.when = when
        self.callback: Callable[..., Any] | None = callback
        self.args = args

    def __lt__(self, other: EpollTimer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self.args = ()
            self._loop.forget_timer()


class EpollLoop:
    """The methods have the names and meanings of `asyncio.AbstractEventLoop`'s. What a callback raises is logged."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._timers: list[EpollTimer] = []
        self._cancelled = 0
        self._readers: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._writers: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._signals: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._stopping = False
        self._runs = 0
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.add_reader(self._wake_read, self._woken)

    def time(self) -> float:
        return time.monotonic()

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        self._ready.append((callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> None:
        """Raises `RuntimeError` once the loop is closed."""
        self._ready.append((callback, args))
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # The pipe is full of wake-ups that have not been seen yet: one of them is enough.
        except OSError as exc:
            raise RuntimeError("the event loop is closed") from exc

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> EpollTimer:
        timer = EpollTimer(self, time.monotonic() + delay, callback, args)
        heapq.heappush(self._timers, timer)
        return timer

    def forget_timer(self) -> None:
        """A timer was cancelled. They are thrown out together: most time limits are never reached."""
        self._cancelled += 1
        if self._cancelled > _CANCELLED and self._cancelled * 2 > len(self._timers):
            self._timers[:] = [timer for timer in self._timers if timer.callback is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        known = fd in self._readers
        self._readers[fd] = (callback, args)
        if not known:
            self._watch(fd, fd in self._writers)

    def remove_reader(self, fd: int) -> bool:
        if self._readers.pop(fd, None) is None:
            return False
        self._unwatch(fd)
        return True

    def add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        known = fd in self._writers
        self._writers[fd] = (callback, args)
        if not known:
            self._watch(fd, fd in self._readers)

    def remove_writer(self, fd: int) -> bool:
        if self._writers.pop(fd, None) is None:
            return False
        self._unwatch(fd)
        return True

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        self._signals[sig] = (callback, args)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(sig, lambda *_: None)  # The number arrives through the pipe.
        signal.siginterrupt(sig, False)

    def serve(self, listener: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections of `listener`, with a protocol of `factory`'s for each."""
        listener.setblocking(False)
        self.add_reader(listener.fileno(), self._accept, listener, factory)

    def stop(self) -> None:
        self._stopping = True

    def close(self) -> None:
        """Give back what the kernel lent. Connections are not closed."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        self._epoll.close()
        os.close(self._wake_read)
        wake, self._wake_write = self._wake_write, -1
        os.close(wake)

    def hand_over(self) -> None:
        """Let another thread run the loop from now on, while the one that runs it is in a callback given to `call_soon`.

        That one's `run_forever` returns as soon as the callback has. Whoever calls this makes sure that the callback touches nothing
        of the loop's afterwards, and that `run_forever` is called by one other thread.
        """
        self._runs += 1

    def run_forever(self) -> bool:
        """Run until `stop`, and return True; or until `hand_over`, and return False."""
        run = self._runs
        ready, timers, poll = self._ready, self._timers, self._epoll.poll
        readers, writers = self._readers, self._writers
        while not self._stopping:
            while timers and timers[0].callback is None:
                heapq.heappop(timers)
                self._cancelled -= 1
            if ready:
                timeout = 0.0
            elif timers:
                timeout = max(0.0, timers[0].when - time.monotonic())
            else:
                timeout = -1.0
            for fd, events in poll(timeout, 256):
                if events & ~select.EPOLLOUT and (entry := readers.get(fd)) is not None:
                    _run(*entry)
                if events & ~select.EPOLLIN and (entry := writers.get(fd)) is not None:
                    _run(*entry)
            if timers:
                now = time.monotonic()
                while timers and timers[0].when <= now:
                    timer = heapq.heappop(timers)
                    callback, timer.callback = timer.callback, None
                    if callback is None:
                        self._cancelled -= 1
                    else:
                        _run(callback, timer.args)
            for _ in range(len(ready)):
                _run(*ready.popleft())
                if self._runs != run:
                    return False  # What is still ready, and what the kernel has told, is the other's to find.
        self._stopping = False
        return True

    def _watch(self, fd: int, known: bool) -> None:
        events = (select.EPOLLIN if fd in self._readers else 0) | (select.EPOLLOUT if fd in self._writers else 0)
        if known:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        if fd in self._readers or fd in self._writers:
            self._watch(fd, True)
        else:
            self._epoll.unregister(fd)

    def _woken(self) -> None:
        try:
            numbers = os.read(self._wake_read, 4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in self._signals:
                callback, args = self._signals[number]
                callback(*args)

    def _accept(self, listener: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                # Out of descriptors or memory: those who wait are served when others have gone.
                sys.stderr.write(f"Cannot accept a connection: {exc.strerror}\n")
                self.remove_reader(listener.fileno())
                self.call_later(_ACCEPT_PAUSE, self.serve, listener, factory)
                return
            accepted.setblocking(False)
            if accepted.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # What a function streams goes at once.
            Transport(self, accepted, factory())


def _run(callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        callback(*args)
    except Exception:  # noqa: BLE001 - one call's mistake is not the end of the others
        import traceback

        traceback.print_exc()
