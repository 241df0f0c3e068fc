"""The REST API's calls about queued calls and schedules, as data: see `calls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hilbert.client.answers import Invocation
from hilbert.client.calls import Call, list_of, nothing, one, request, segment
from hilbert.client.codec import Head
from hilbert.kit.pace import Pace
from hilbert.wire.queued import Batch, BatchCall, DeadLetters, Done, QueuedCallStatus, QueuedIds, QueueStatus
from hilbert.wire.schedule import ChangeSchedules, QueuedId, RunSchedule, Schedules

LOOKS: Final = Pace(first=0.05, most=2.0)
"""Between two looks at a call that is waited for."""
_OPEN: Final = frozenset({"queued", "delayed", "running"})


def has_ended(status: QueuedCallStatus) -> bool:
    """Whether nothing more happens to it by itself."""
    return status.state not in _OPEN


def list_queues(namespace: str) -> Call[list[QueueStatus]]:
    found = request("GET", "/system/async/queues", query={"namespace": namespace})
    return Call(found, list_of(QueueStatus), subject="namespace", name=namespace)


def list_calls(namespace: str, *, function: str, state: str, after: int, limit: int) -> Call[list[QueuedCallStatus]]:
    query = {
        "namespace": namespace,
        "function": function,
        "state": state,
        "after": str(after) if after else "",
        "limit": str(limit) if limit else "",
    }
    found = request("GET", "/system/async/calls", query=query)
    return Call(found, list_of(QueuedCallStatus), subject="namespace", name=namespace)


def get_call(call_id: str) -> Call[QueuedCallStatus]:
    return Call(request("GET", f"/async-function/{segment(call_id)}"), one(QueuedCallStatus))


def call_result(call_id: str) -> Call[Invocation]:
    return Call(request("GET", f"/async-function/{segment(call_id)}/result"), _answer)


def call_request(call_id: str) -> Call[bytes]:
    return Call(request("GET", f"/async-function/{segment(call_id)}/request"), lambda _head, body: body)


def cancel(call_id: str) -> Call[None]:
    return Call(request("DELETE", f"/async-function/{segment(call_id)}"), nothing)


def invoke_batch(batch: Sequence[BatchCall], namespace: str) -> Call[QueuedIds]:
    document = Batch(namespace=namespace, calls=tuple(batch))
    return Call(request("POST", "/system/async/batch", document=document), one(QueuedIds), subject="function")


def dead_letters(method: str, namespace: str, call_ids: Sequence[str], function: str) -> Call[Done]:
    """`POST` queues them again, `DELETE` forgets them."""
    document = DeadLetters(namespace=namespace, calls=tuple(call_ids), all=not call_ids, function=function)
    found = request(method, "/system/async/dead", document=document)
    return Call(found, one(Done), subject="namespace", name=namespace)


def list_schedules(namespace: str, function: str, count: int) -> Call[Schedules]:
    query = {"namespace": namespace, "function": function, "count": str(count)}
    return Call(request("GET", "/system/schedules", query=query), one(Schedules), subject="namespace", name=namespace)


def pause_schedules(name: str, namespace: str, *, paused: bool) -> Call[Done]:
    document = ChangeSchedules(namespace=namespace, paused=paused)
    return Call(request("PUT", f"/system/schedules/{segment(name)}", document=document), one(Done))


def run_schedule(name: str, namespace: str, index: int | None) -> Call[QueuedId]:
    document = RunSchedule(namespace=namespace, index=index)
    return Call(request("POST", f"/system/schedules/{segment(name)}", document=document), one(QueuedId))


def _answer(head: Head, body: bytes) -> Invocation:
    """The status that the function answered with is in a header of its own."""
    said = head.headers.get("x-function-status", "")
    return Invocation(int(said) if said.isdigit() else head.status, head.headers, body)
