"""Where a request goes: to a function, or to the control plane; and the calls that wait for a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

from hilbert.core.model import CallPolicy
from hilbert.dataplane import failures, headers
from hilbert.dataplane.call import FunctionCall
from hilbert.dataplane.exchange import Exchange
from hilbert.dataplane.table import RouteState, Table
from hilbert.kit.aio import spawn
from hilbert.kit.http1 import Handler, Pool, Request, Responder, TimerWheel

_WAKE_EVERY: Final = 1.0
"""Seconds after which a wake-up is repeated while calls wait."""

_CONTROL_POLICY: Final = CallPolicy(first_byte=120.0, idle=0.0)
"""The REST API: following logs may be silent for long."""

_access = structlog.get_logger("hilbert.access")


class Proxy:
    """Takes requests from connections and sends each on its way."""

    def __init__(
        self,
        table: Table,
        wheel: TimerWheel,
        control: Pool,
        *,
        wake: Callable[[RouteState], None],
        access_log: bool,
        max_api_body: int,
    ) -> None:
        self._table = table
        self.wheel = wheel
        self._control = control
        self._wake = wake
        self._access_log = access_log
        self._max_api_body = max_api_body
        self._loop = asyncio.get_running_loop()

    def accept(self, request: Request, responder: Responder) -> Handler:
        """A request's head is whole: the entry of every call."""
        incoming: headers.Incoming = request.derived or headers.incoming(request)
        segment = incoming.segment
        if segment is None:
            return self._to_control(request, responder, incoming)
        state = self._table.by_segment.get(segment)
        if state is None:
            return self._refuse(request, responder, incoming, segment)
        if not incoming.allowed:
            return _Refused(request, responder, incoming, failures.METHOD)
        call = FunctionCall(self, state, request, responder, incoming)
        if state.waiting or not call.dispatch(call.began):
            if not state.replicas:
                state.counters.cold_starts += 1
            self.wait(call)
        return call

    # Calls that wait

    def wait(self, call: FunctionCall) -> None:
        """Queue a call for a replica, or refuse it if the queue is full."""
        state = call.state
        if len(state.waiting) >= state.policy.queue_length:
            call.fail(failures.queue_full(call.name, state.policy.queue_length))
            return
        state.waiting[call] = None
        call.wait()
        self._ask(state)
        self._retry(state)

    def _retry(self, state: RouteState) -> None:
        """See to it that a replica which refuses connections is tried again while calls wait for it."""
        at = state.next_try()
        if at and not state.retry_due:
            state.retry_due = True
            self._loop.call_later(max(at - monotonic(), 0.001), self._retry_now, state)

    def _retry_now(self, state: RouteState) -> None:
        state.retry_due = False
        self.released(state)

    def _ask(self, state: RouteState) -> None:
        """Wake a function at zero, and keep asking while calls wait: a wake-up may be lost."""
        now = monotonic()
        if state.replicas or now < state.woken_at + _WAKE_EVERY:
            return
        state.woken_at = now
        self._wake(state)
        self._loop.call_later(_WAKE_EVERY + 0.01, self._ask_again, state)

    def _ask_again(self, state: RouteState) -> None:
        if state.waiting and not state.replicas:
            self._ask(state)

    def released(self, state: RouteState) -> None:
        """A replica came or has room again: send waiting calls on their way, in order."""
        waiting = state.waiting
        while waiting:
            call, _ = waiting.popitem(last=False)
            if not call.dispatch(monotonic()):
                waiting[call] = None
                waiting.move_to_end(call, last=False)
                self._ask(state)
                self._retry(state)
                return
            state.counters.mark()  # One less waits.

    def gone(self, state: RouteState) -> None:
        """The function was removed: calls that wait for it have nothing to wait for."""
        while state.waiting:
            call, _ = state.waiting.popitem(last=False)
            call.fail(failures.gone(call.name))

    def ended(self, call: FunctionCall, status: int) -> None:
        if call.state.waiting:
            self.released(call.state)
        if self._access_log:
            waited, took = call.times()
            _access.info(
                "call",
                function=call.name,
                method=call.request.method.decode(),
                path=call.incoming.path.decode("latin-1"),
                status=status,
                call_id=call.call_id.decode(),
                wait=round(waited, 6),
                call=round(took, 6),
            )

    # Everything else

    def _refuse(self, request: Request, responder: Responder, incoming: headers.Incoming, segment: bytes) -> Handler:
        if not self._table.complete:
            failure = failures.NOT_YET
        elif not segment:
            failure = failures.NO_NAME
        else:
            failure = failures.unknown(self._table.full_name(_printable(segment)))
        return _Refused(request, responder, incoming, failure)

    def _to_control(self, request: Request, responder: Responder, incoming: headers.Incoming) -> Handler:
        exchange = _ControlCall(request, responder, incoming, most=self._max_api_body)
        exchange.policy = _CONTROL_POLICY
        if (request.length or 0) > self._max_api_body:
            exchange.fail(failures.body_too_large(self._max_api_body, "gateway.max_api_body"))
            return exchange
        exchange.begin(self._control)
        return exchange


class _Refused(Exchange):
    """A request that the gateway answers itself, at once."""

    def __init__(
        self, request: Request, responder: Responder, incoming: headers.Incoming, failure: failures.Failure
    ) -> None:
        super().__init__(request, responder, incoming)
        self.fail(failure)


class _ControlCall(Exchange):
    """A request for the REST API."""

    def __init__(self, request: Request, responder: Responder, incoming: headers.Incoming, *, most: int) -> None:
        super().__init__(request, responder, incoming)
        self._room = most
        self._most = most
        self._pool: Pool | None = None
        self._tries = 0

    def begin(self, pool: Pool) -> None:
        self._pool = pool
        self._tries += 1
        connection = pool.take()
        if connection is not None:
            self.attach(connection)
        else:
            spawn(self._connect(pool), name="connect control plane")

    async def _connect(self, pool: Pool) -> None:
        try:
            connection = await pool.connect()
        except OSError:
            self.fail(failures.CONTROL_AWAY)
            return
        if self.ended:
            pool.release(connection)
        else:
            self.attach(connection)

    def on_body(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self.fail(failures.body_too_large(self._most, "gateway.max_api_body"))
        super().on_body(data)

    def again(self, reason: str, *, refused: bool) -> bool:
        del reason, refused
        if self._pool is None or self._tries > 2:
            return False
        self.begin(self._pool)
        return True

    def fail(self, failure: failures.Failure) -> None:
        super().fail(failures.CONTROL_AWAY if failure.code == "upstream-unreachable" else failure)

    def head(self) -> tuple[bytes, ...]:
        incoming = self.incoming
        own = b"X-Call-Id: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\n\r\n" % (
            self.call_id,
            self.responder.peer,
        )
        return incoming.start, incoming.host, incoming.lines, own


def _printable(segment: bytes) -> str:
    """A name from a path, safe to show."""
    text = segment[:128].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
