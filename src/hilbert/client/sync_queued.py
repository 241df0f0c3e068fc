"""Queued calls and schedules, for the synchronous client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

from hilbert.client import queued_calls as calls
from hilbert.client.answers import Invocation
from hilbert.client.arguments import checked
from hilbert.client.calls import Call
from hilbert.client.faults import GatewayTimeout
from hilbert.client.queued_calls import has_ended
from hilbert.wire.queued import BatchCall, QueuedCallStatus, QueueStatus
from hilbert.wire.schedule import Schedules

T = TypeVar("T")


@checked
class Queued:
    """The part of `Client` that is about them."""

    def _run(self, call: Call[T]) -> T:
        raise NotImplementedError

    # Queued calls.

    def list_queues(self, namespace: str = "") -> list[QueueStatus]:
        """Functions with queued calls, of one namespace or of all that the caller may see."""
        return self._run(calls.list_queues(namespace))

    def list_calls(
        self, namespace: str = "", *, function: str = "", state: str = "", after: int = 0, limit: int = 0
    ) -> list[QueuedCallStatus]:
        """Queued calls of a namespace, also those that have ended; of one function or state (`dead`) only.

        A page has up to `limit` of them, at most 500; go on with `after`, the last one's `number`. Raises `Invalid`.
        """
        return self._run(calls.list_calls(namespace, function=function, state=state, after=after, limit=limit))

    def get_call(self, call_id: str) -> QueuedCallStatus:
        """The state of a queued call. Raises `NotFound`."""
        return self._run(calls.get_call(call_id))

    def call_result(self, call_id: str) -> Invocation:
        """The answer to a queued call. Raises `NotFound` when none is kept, and `Forbidden`."""
        return self._run(calls.call_result(call_id))

    def call_request(self, call_id: str) -> bytes:
        """The body of a queued call's request, while it is kept. Raises `NotFound` and `Forbidden`."""
        return self._run(calls.call_request(call_id))

    def wait_call(self, call_id: str, *, timeout: float = 60.0) -> QueuedCallStatus:
        """Wait until a queued call has ended. Raises `NotFound`, and `GatewayTimeout` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        looks = 0
        while not has_ended(found := self.get_call(call_id)):
            if time.monotonic() >= deadline:
                raise GatewayTimeout(f"call {call_id} has not ended in {timeout:g} seconds; it is {found.state}")
            looks += 1
            time.sleep(min(calls.LOOKS.delay(looks), max(0.0, deadline - time.monotonic())))
        return found

    def cancel_async(self, call_id: str) -> None:
        """Take a queued call back, or stop it. Raises `NotFound`."""
        self._run(calls.cancel(call_id))

    def invoke_batch(self, batch: Sequence[BatchCall], namespace: str = "") -> list[str]:
        """Queue up to 1,000 calls of a namespace's functions, all or none; their ids, in order.

        Raises `FunctionNotFound`, `Invalid` and `QueueFull`.
        """
        return list(self._run(calls.invoke_batch(batch, namespace)).call_ids)

    def redrive(self, call_ids: Sequence[str] = (), namespace: str = "", *, function: str = "") -> int:
        """Queue dead letters of a namespace again: those named, or without names all, of one function only; how many."""
        return self._run(calls.dead_letters("POST", namespace, call_ids, function)).count

    def purge(self, call_ids: Sequence[str] = (), namespace: str = "", *, function: str = "") -> int:
        """Forget dead letters, chosen as in `redrive`; how many."""
        return self._run(calls.dead_letters("DELETE", namespace, call_ids, function)).count

    # Schedules.

    def list_schedules(self, namespace: str = "", *, function: str = "", count: int = 5) -> Schedules:
        """The schedules of a namespace, or of one function, each with its next `count` times. Raises `Unsupported`."""
        return self._run(calls.list_schedules(namespace, function, count))

    def pause_schedules(self, name: str, namespace: str = "", *, paused: bool = True) -> int:
        """Pause a function's schedules, or resume them with `paused=False`; how many. Raises `NotFound` and `Conflict`."""
        return self._run(calls.pause_schedules(name, namespace, paused=paused)).count

    def run_schedule(self, name: str, namespace: str = "", *, index: int | None = None) -> str:
        """Queue the call of a function's schedule now; its id. Raises `NotFound`, and `Invalid` if it has several."""
        return self._run(calls.run_schedule(name, namespace, index)).call_id
