"""One call of the function, between the HTTP connection and a mode.

A mode makes a `Work` of each `Call`. The call keeps the clock, the count and the rules of responses, so that a mode has only to
say what it answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from hilbert.kit.http1.status import STATUS_LINES
from hilbert.watchdog.clock import Clock
from hilbert.watchdog.config import parse_seconds
from hilbert.watchdog.logs import checked_call_id

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.epoll.interface import Loop
    from hilbert.kit.http1 import Headers, Request, Responder

INTERNAL: Final = (b"X-OpenFaaS-Internal", b"of-watchdog")
"""Marks a response that the watchdog made in place of the function."""

TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")

_FRAMING: Final = frozenset(
    {b"connection", b"content-length", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"trailer"}
)


class Work(Protocol):
    """What a mode does for one call. All of it runs on the event loop."""

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_drain(self) -> None:
        """The client has taken what `Call.write` could not pass on at once."""
        ...

    def on_stop(self, *, timeout: bool) -> None:
        """Stop at once: the call's time is over, or (`timeout` False) the client has gone. Nothing else comes after it.

        On a timeout the call may still be answered; one that is not is answered by `Call` with 504.
        """
        ...


class Call:
    """A request and the way to answer it. Made by `Front`; `finished` tells it that the call is over."""

    def __init__(
        self,
        request: Request,
        responder: Responder,
        loop: Loop,
        finished: Callable[[Call], None],
        clock: Clock | None,
    ) -> None:
        """`clock` has the time limit of a call that asks for no other."""
        self.request = request
        self.method = request.method.decode("latin-1")
        self.target = request.target
        """As it came; a mode may change that of `request`."""
        self.raw_path, _, self.raw_query = request.target.partition(b"?")
        self.started = False
        self.status = 0
        self.sent = 0
        self.began = time.perf_counter()
        self._responder = responder
        self._loop = loop
        self._finished = finished
        self._work: Work | None = None
        self._over = False
        self._paused = False
        self._clock = clock
        self._id: bytes | None = None
        self._fields: dict[bytes, bytes] | None = None
        """First values by name in lower case, once one was asked for."""

    # What a mode may ask and say

    def header(self, name: bytes) -> bytes:
        """The first value of a request header, whose name is given in lower case; empty when there is none."""
        fields = self._fields
        if fields is None:
            fields = self._fields = {key.lower(): value for key, value in reversed(self.request.headers)}
        return fields.get(name, b"")

    @property
    def id(self) -> bytes:
        """The call id that the gateway gave; empty without one."""
        if self._id is None:
            self._id = checked_call_id(self.header(b"x-call-id"))
        return self._id

    @property
    def over(self) -> bool:
        """Nothing more can be answered."""
        return self._over

    @property
    def seconds(self) -> float:
        """Time since the call came in."""
        return time.perf_counter() - self.began

    def set_limit(self, seconds: float) -> None:
        """The most time for the call, from now on; 0 is none."""
        self.stop_clock()
        self._clock = Clock(self._loop, seconds) if seconds else None
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count the call's time limit from now on."""
        if self._clock is not None:
            self._clock.start(self)

    def stop_clock(self) -> None:
        """No time limit from here on."""
        if self._clock is not None:
            self._clock.stop(self)
            self._clock = None

    def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """Begin the response. Framing headers among `headers` are left out: the connection has its own."""
        if self._over or self.started:
            return
        self.started = True
        self.status = status
        self._responder.start(status, [], lines=(self._lines(headers),), length=length)

    def _lines(self, headers: Headers) -> bytes:
        """The header lines of the response: those of `headers` but for framing, and those that are the call's own."""
        parts = []
        date = self._responder.date
        for name, value in headers:
            lowered = name.lower()
            if lowered not in _FRAMING:
                parts.append(b"%b: %b\r\n" % (name, value))
                if lowered == b"date":
                    date = b""
        parts.append(b"X-Duration-Seconds: %.6f\r\n" % self.seconds)
        parts.append(date)
        return b"".join(parts)

    def write(self, data: bytes) -> bool:
        """Send a part of the body; False asks to wait for `Work.on_drain`."""
        if self._over:
            return True
        self.sent += len(data)
        return self._responder.write(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    def end(self, trailers: Headers | None = None) -> None:
        """The response is whole."""
        if not self._over:
            self._close()
            self._responder.end(trailers)

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response."""
        if self._over:
            return
        if self.started or self.method == "HEAD":
            self.start(status, headers, length=len(body) if body else None)
            self.write(body)
            self.end()
            return
        self.started = True
        self.status = status
        self.sent = len(body)
        lines = self._lines(headers)
        self._close()
        self._responder.answer(status, lines, body)

    def fail(self, status: int, message: str = "") -> None:
        """The watchdog answers in place of the function; a response that has begun is cut instead."""
        if self.started:
            self.abort()
        elif message:
            self.answer(status, [TEXT, INTERNAL], f"{message}\n".encode())
        else:
            self.answer(status, [INTERNAL], b"")

    def abort(self) -> None:
        """Close the connection at once, so that what was sent cannot pass for the whole response."""
        if not self._over:
            self._close()
            self._responder.abort()

    def pause_body(self) -> None:
        """Take no more of the request's body for now. Idempotent, as is `resume_body`."""
        if not self._paused:
            self._paused = True
            self._responder.pause_body()

    def resume_body(self) -> None:
        if self._paused:
            self._paused = False
            self._responder.resume_body()

    @property
    def responder(self) -> Responder:
        """For a change of protocol, which ends the call's own part: see `hand_over`."""
        return self._responder

    @property
    def transport(self) -> asyncio.Transport:
        return self._responder.transport

    def hand_over(self) -> None:
        """The connection has become a tunnel; the call counts until `leave`, with no time limit."""
        self.started = True
        self.stop_clock()

    def leave(self) -> None:
        """The tunnel has closed."""
        if not self._over:
            self._close()

    # The connection's side

    # A mistake in a mode is this call's end, not a place under `max_inflight` that is never given back.

    def begin(self, accept: Callable[[Call], Work]) -> None:
        """Let a mode make the work of this call."""
        try:
            work = accept(self)
        except Exception:  # noqa: BLE001 - the request's boundary
            self._mistaken()
        else:
            if not self._over:
                self._work = work

    def on_body(self, data: bytes) -> None:
        if self._work is not None and not self._over:
            try:
                self._work.on_body(data)
            except Exception:  # noqa: BLE001 - the request's boundary
                self._mistaken()

    def on_body_end(self, _trailers: Headers) -> None:
        if self._work is not None and not self._over:
            try:
                self._work.on_body_end()
            except Exception:  # noqa: BLE001 - the request's boundary
                self._mistaken()

    def on_drain(self) -> None:
        if self._work is not None and not self._over:
            try:
                self._work.on_drain()
            except Exception:  # noqa: BLE001 - the request's boundary
                self._mistaken()

    def on_abort(self) -> None:
        if not self._over:
            work = self._work
            self._close()
            if work is not None:
                work.on_stop(timeout=False)

    def expire(self) -> None:
        """Its time is over."""
        if self._work is not None:
            self._work.on_stop(timeout=True)
        if not self._over:
            self.fail(504)

    def _mistaken(self) -> None:
        import traceback

        traceback.print_exc()
        self.fail(500, "The watchdog failed; its log says why.")

    def _close(self) -> None:
        self._over = True
        self._work = None
        self.stop_clock()
        self.resume_body()  # The rest of the body is the connection's to throw away.
        self._finished(self)


class Whole:
    """A `Work` that holds the request's body until it is whole, within a bound, and then goes on with `then`."""

    def __init__(self, call: Call, limit: int, then: Callable[[bytes], Work]) -> None:
        """`limit` is in bytes; a longer body is answered with 413."""
        self._call = call
        self._limit = limit
        self._then = then
        self._parts: list[bytes] = []
        self._size = 0
        self._next: Work | None = None
        if (call.request.length or 0) > limit:
            self._refuse()

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._refuse()
        else:
            self._parts.append(data)

    def on_body_end(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._call.restart_clock()
        self._next = self._then(body)

    def on_drain(self) -> None:
        if self._next is not None:
            self._next.on_drain()

    def on_stop(self, *, timeout: bool) -> None:
        self._parts = []
        if self._next is not None:
            self._next.on_stop(timeout=timeout)

    def _refuse(self) -> None:
        self._parts = []
        self._call.fail(413, f"The request's body is over the limit of {self._limit} bytes (buffer_limit)")


def access_line(call: Call, identity: str, *, reason: bool) -> str:
    """A line of the access log, as of-watchdog writes it: with the status's phrase in mode `http`, and with the call id as
    `identity` when it is wanted.
    """
    size = f"{call.sent}B" if call.sent < 1000 else f"{call.sent / 1000:.4g}kB"
    tail = f" [{identity}]" if identity else ""
    status = STATUS_LINES[call.status][9:-2].decode() if reason and call.status else str(call.status)
    target = call.target.decode("ascii", "backslashreplace")  # Other bytes may steer the terminal of who reads it.
    return f"{call.method} {target} - {status} - ContentLength: {size} ({call.seconds:.4f}s){tail}"


def limit_of(x_timeout: bytes, limits: Iterable[float]) -> float:
    """The least of the limits in seconds that are set; `X-Timeout` may only shorten it. 0 is no limit."""
    known = [limit for limit in limits if limit > 0]
    asked = parse_seconds(x_timeout.decode("latin-1")) if x_timeout else None
    if asked:
        known.append(asked)
    return min(known, default=0.0)
