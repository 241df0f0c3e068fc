"""The watchdog's HTTP side: its own paths, the limit on calls at once, and the graceful end."""

# ruff: noqa: PTH110, PTH118
# The import of pathlib would be paid at every start.

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, cast

from hilbert.kit.http1 import Limits, ServerConnection, TimerWheel
from hilbert.watchdog.call import TEXT, Call, Work, limit_of
from hilbert.watchdog.clock import Clock

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.epoll.interface import Loop, Timer
    from hilbert.kit.http1 import Handler, Headers, Request, Responder
    from hilbert.watchdog.callers import Callers
    from hilbert.watchdog.config import Config

_LIMITED: Final = ((b"Content-Type", b"text/plain"), (b"X-OpenFaaS-Internal", b"faas-middleware"))


_X_TIMEOUT: Final = len(b"x-timeout")

_HELD_SECONDS: Final = 1.0
"""Most time for which the runtime's question whether the replica is ready is held until it is."""
HELD_MOST: Final = 16
"""Such questions at once; others are answered at once."""


class Mode(Protocol):
    """How calls are answered: one class for each of `hilbert.core.bundle.Mode`."""

    @property
    def ready(self) -> bool:
        """Calls can be taken."""
        ...

    def accept(self, call: Call) -> Work:
        """Begin one call. It must not raise."""
        ...

    def close(self, *, at_once: bool) -> None:
        """End everything that was started; politely first unless `at_once`."""
        ...


class Front:
    """Every connection of the watchdog, from `connection` (a protocol factory) to the end of draining."""

    def __init__(self, config: Config, mode: Mode, loop: Loop, *, lock: bool, callers: Callers | None = None) -> None:
        """With `lock` the watchdog is ready only while `lock_file()` is there. Without `callers` anybody may call."""
        self._config = config
        self._mode = mode
        self._loop = loop
        self._lock = lock
        self._callers = callers
        self._wheel = TimerWheel(tick=0.5, loop=cast("asyncio.AbstractEventLoop", loop))
        self._limits = Limits(
            head_time=config.read_timeout, body_time=config.read_timeout, write_time=config.write_timeout
        )
        self._longest = limit_of(b"", (config.exec_timeout, config.write_timeout))
        """Seconds for a call that asks for no less."""
        self._clock = Clock(loop, self._longest) if self._longest else None
        self._connections: set[ServerConnection] = set()
        self._accepting = True
        self._calls = 0
        self._asking: set[_Asking] = set()
        self._idle: Callable[[], None] | None = None
        self._idle_delay = 0.0
        self._idle_timer: Timer | None = None
        self.on_finished: Callable[[Call], None] = lambda _call: None
        """Called at the end of each call, for the access log."""

    @property
    def calls(self) -> int:
        """Calls under way."""
        return self._calls

    def connection(self) -> ServerConnection:
        made = ServerConnection(
            self._accept, self._limits, self._wheel, on_lost=self._connections.discard, half_close=False
        )
        made.draining = not self._accepting
        self._connections.add(made)
        return made

    def unready(self) -> None:
        """Say on the health paths that no calls are taken, and close each connection after its next answer."""
        self._accepting = False
        self.tell_ready()
        for connection in list(self._connections):
            connection.retire()

    def tell_ready(self) -> None:
        """The mode has become ready, or nobody needs to know any more: answer whoever has asked."""
        for one in list(self._asking):
            one.answer()

    def when_idle(self, delay: float, then: Callable[[], None]) -> None:
        """Call `then` once no call has been under way for `delay` seconds."""
        self._idle, self._idle_delay = then, delay
        self._watch_idle()

    def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._connections):
            connection.cut()
        self._wheel.close()

    def _accept(self, request: Request, responder: Responder) -> Handler:
        path = request.target.partition(b"?")[0]
        if path == b"/_/health":
            return self._health(request, responder)
        if path == b"/_/ready":
            return self._ready(request, responder)
        if self._over_limit():
            return _reply(responder, 429, list(_LIMITED), self._limit_text())
        if self._callers is not None and (refusal := self._callers.refuse(request, responder.far_end)) is not None:
            return _reply(responder, *refusal)
        return self._call(request, responder)

    def _call(self, request: Request, responder: Responder) -> Call:
        call = Call(request, responder, self._loop, self._finished, self._clock)
        asked = _asked_time(request.headers)
        if asked:
            call.set_limit(limit_of(asked, (self._longest,)))
        else:
            call.restart_clock()
        self._calls += 1
        call.begin(self._mode.accept)
        return call

    def _finished(self, call: Call) -> None:
        self._calls -= 1
        self.on_finished(call)
        if self._idle is not None:
            self._watch_idle()

    def _health(self, request: Request, responder: Responder) -> Handler:
        if request.method != b"GET":
            return _reply(responder, 405, [], b"")
        if not self._up():
            return _reply(responder, 503, [], b"")
        return _reply(responder, 200, [TEXT], b"OK")

    def _ready(self, request: Request, responder: Responder) -> Handler:
        if request.method != b"GET":
            return _reply(responder, 405, [], b"")
        config = self._config
        # The runtime asks again and again, each time a little late: it is told when there is something to tell.
        may_wait = config.listen_fd >= 0 and not config.ready_path and len(self._asking) < HELD_MOST
        if may_wait and self._accepting and not self._mode.ready:
            return _Asking(self._asking, self._loop, lambda: self._readiness(request, responder))
        return self._readiness(request, responder)

    def _readiness(self, request: Request, responder: Responder) -> Handler:
        if not (self._up() and self._mode.ready):
            return _reply(responder, 503, [], b"")
        if self._over_limit():
            return _reply(responder, 429, list(_LIMITED), self._limit_text())
        if self._config.ready_path:
            # Nobody shares the request: a watchdog's connections know no heads.
            request.target = self._config.ready_path.encode()
            return self._call(request, responder)
        return _reply(responder, 200, [], b"")

    def _up(self) -> bool:
        return self._accepting and not (self._lock and not os.path.exists(lock_file()))

    def _over_limit(self) -> bool:
        return 0 < self._config.max_inflight <= self._calls

    def _limit_text(self) -> bytes:
        most = self._config.max_inflight
        return f"Concurrent request limit exceeded. Max concurrent requests: {most}\n".encode()

    def _watch_idle(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._calls == 0 and self._idle is not None:
            self._idle_timer = self._loop.call_later(self._idle_delay, self._if_idle)

    def _if_idle(self) -> None:
        if self._calls == 0 and self._idle is not None:
            self._idle()


class _Answered:
    """The handler of a request that was answered from its head alone."""

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self, trailers: Headers) -> None: ...

    def on_abort(self) -> None: ...

    def on_drain(self) -> None: ...


class _Asking(_Answered):
    """The handler of a readiness request that waits for its answer."""

    def __init__(self, others: set[_Asking], loop: Loop, answer: Callable[[], object]) -> None:
        self._others = others
        self._answer = answer
        self._timer = loop.call_later(_HELD_SECONDS, self.answer)
        others.add(self)

    def answer(self) -> None:
        self.on_abort()
        self._answer()

    def on_abort(self) -> None:
        self._timer.cancel()
        self._others.discard(self)


_ANSWERED: Final = _Answered()


def lock_file() -> str:
    """OpenFaaS's sign that calls are taken, in the folder for temporary files; exec probes look for it."""
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", ".lock")  # noqa: S108 - so it is named there


def _asked_time(headers: Headers) -> bytes:
    """`X-Timeout`; empty without one. Names are told apart by their lengths first: most calls have none of that length."""
    for name, value in headers:
        if len(name) == _X_TIMEOUT and name.lower() == b"x-timeout":
            return value
    return b""


def _reply(responder: Responder, status: int, headers: Headers, body: bytes) -> Handler:
    responder.start(status, headers, length=len(body) if body or responder.request.method != b"HEAD" else None)
    responder.write(body)
    responder.end()
    return _ANSWERED
