"""The one room for calls that wait: for a function at zero, for a free place, for a replica that takes connections again.

A call enters when no replica has room for it, and leaves in one of four ways: released to a replica, refused, expired, or ended by
its client. While calls wait, the room asks for what they wait for: it wakes a function that has no replica, and has replicas that
refuse connections tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from hilbert.dataplane import failures
from hilbert.dataplane.gates import hold, let_go

if TYPE_CHECKING:
    import asyncio

    from hilbert.dataplane.failures import Failure
    from hilbert.dataplane.table import RouteState, Waiter

_WAKE_EVERY: Final = 1.0
"""Seconds after which a wake-up is repeated while calls wait."""


class WaitingRoom:
    """All calls of one worker that wait, each in the line of its function (`RouteState.waiting`), in order of arrival."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake: Callable[[RouteState], None], *, max_bytes: int = 0
    ) -> None:
        """`wake` asks the control process for a replica of a function.

        `max_bytes` bounds the bodies of all waiting calls together; 0 is no bound.
        """
        self._loop = loop
        self._wake = wake
        self._max_bytes = max_bytes
        self._held = 0
        """Bytes of bodies that waiting calls hold."""

    def enter(self, call: Waiter) -> None:
        """Have a call wait, or refuse it when the line of its function is full."""
        state = call.state
        if state.fault is not None:
            call.fail(failures.not_starting(str(state), state.fault))
            return
        if len(state.waiting) >= state.policy.queue_length:
            call.fail(failures.queue_full(str(state), state.policy.queue_length))
            return
        if 0 < self._max_bytes < self._held + call.held:
            call.fail(failures.room_full(str(state), self._max_bytes))
            return
        if call.gates and (refused := hold(call.gates, call.held)) is not None:
            call.fail(refused)
            return
        state.waiting[call] = None
        self._held += call.held
        call.wait()
        self._ask(state)
        self._retry_later(state)

    def leave(self, call: Waiter) -> None:
        """A call has ended while it waited: it must not count against those that still wait."""
        if call.state.waiting.pop(call, call) is None:
            self._forget(call, call.held)

    def release(self, state: RouteState) -> None:
        """A replica came or has room again: send waiting calls on their way, in order. Or it is known that none comes."""
        if state.fault is not None:
            self.refuse(state, failures.not_starting(str(state), state.fault))
            return
        waiting = state.waiting
        while waiting:
            call, _ = waiting.popitem(last=False)
            held = call.held
            if not call.dispatch(monotonic()):
                waiting[call] = None
                waiting.move_to_end(call, last=False)
                self._ask(state)
                self._retry_later(state)
                return
            self._forget(call, held)
            state.counters.mark()  # One less waits.

    def refuse(self, state: RouteState, failure: Failure) -> None:
        """Answer every waiting call of a function: what they wait for will not come."""
        while state.waiting:
            call, _ = state.waiting.popitem(last=False)
            self._forget(call, call.held)
            call.fail(failure)

    def _forget(self, call: Waiter, held: int) -> None:
        """It has left the room."""
        self._held -= held
        if call.gates:
            let_go(call.gates, held)

    def gone(self, state: RouteState) -> None:
        """The function was removed."""
        self.refuse(state, failures.gone(str(state)))

    def expire(self, call: Waiter, reason: str) -> None:
        """A call has waited as long as it may. `reason` is what the last replica that was tried did, if one was."""
        state = call.state
        policy = state.policy
        count = len(state.replicas)
        if not count:
            why = "there is no replica"
        elif reason:
            why = f"no replica took the call ({reason})"
        else:
            why = f"all replicas are busy ({count}, with {policy.max_inflight} calls at once each)"
        call.fail(failures.no_replica(str(state), policy.activation, why))

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

    def _retry_later(self, state: RouteState) -> None:
        """See to it that a replica which refuses connections is tried again while calls wait for it."""
        at = state.next_try()
        if at and not state.retry_due:
            state.retry_due = True
            self._loop.call_later(max(at - monotonic(), 0.001), self._retry, state)

    def _retry(self, state: RouteState) -> None:
        state.retry_due = False
        self.release(state)
