"""`calls`: one queued call, or many."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape, Yes, flag
from hilbert.cli.function.name import split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.moments import moment_text
from hilbert.cli.terminal.output import columns, harmless, note, out
from hilbert.cli.terminal.wording import count
from hilbert.client.sync import Client
from hilbert.wire.queued import QueuedCallStatus

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "dead"]
Ids = Annotated[tuple[str, ...], flag("Call ids.")]
Function = Annotated[str, flag("Only those of this function.", "--function")]
All = Annotated[bool, flag("Every dead letter; cannot be used with ids.", "--all", "-A")]

_PAGE: Final = 500


def list_calls(
    function: Annotated[str, flag("Function, or FUNCTION.NAMESPACE; all functions if absent.")] = "",
    /,
    *,
    namespace: Namespace = "",
    state: Annotated[State | None, flag("Only calls in this state.", "--state")] = None,
    limit: Annotated[int, flag("How many at most.", "--limit")] = 100,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if limit < 1:
        raise UsageError("--limit: must be at least 1")
    name, namespace = split_name(function, namespace)
    with connect(at) as client:
        found = _pages(client, namespace, name, state or "", limit)
    if shape.format != "table":
        write_document(found, shape.format)
        return
    rows = [("CALL ID", "FUNCTION", "STATE", "ATTEMPTS", "QUEUED", "REASON")]
    rows += [
        (call.call_id, call.function, call.state, str(call.attempts), moment_text(call.queued_at), call.reason)
        for call in found
    ]
    for line in columns(rows):
        out(harmless(line))
    if len(found) == limit:
        note(f"There may be more than {limit}; see --limit.")


def _pages(client: Client, namespace: str, function: str, state: str, limit: int) -> Sequence[QueuedCallStatus]:
    found: list[QueuedCallStatus] = []
    while len(found) < limit:
        wanted = min(_PAGE, limit - len(found))
        after = found[-1].number if found else 0
        page = client.list_calls(namespace, function=function, state=state, after=after, limit=wanted)
        found += page
        if len(page) < wanted:
            break
    return found


def show(call_id: str, /, *, at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        call = client.get_call(call_id)
    if shape.format != "table":
        write_document(call, shape.format)
        return
    lines = [
        ("Call id:", call.call_id),
        ("Function:", f"{call.function}.{call.namespace}"),
        ("State:", call.state),
        ("Attempts:", str(call.attempts)),
        ("Queued:", moment_text(call.queued_at)),
        ("Queued by:", call.queued_by),
        ("Next attempt:", moment_text(call.next_attempt_at)),
        ("Ended:", moment_text(call.finished_at)),
        ("Reason:", call.reason),
        ("Answer:", f"hilbert calls result {call.call_id}" if call.has_result else ""),
    ]
    for line in columns([row for row in lines if row[1]]):
        out(harmless(line))


def result(call_id: str, /, *, at: Connection = HERE) -> None:
    with connect(at) as client:
        answer = client.call_result(call_id)
    note(f"The function answered {answer.status}.")
    _write(answer.body)


def request(call_id: str, /, *, at: Connection = HERE) -> None:
    with connect(at) as client:
        body = client.call_request(call_id)
    _write(body)


def cancel(call_ids: Ids, /, *, at: Connection = HERE) -> None:
    with connect(at) as client:
        for call_id in call_ids:
            client.cancel_async(call_id)
            out(harmless(f"Cancelled: {call_id}"))


def redrive(
    call_ids: Ids = (),
    /,
    *,
    namespace: Namespace = "",
    function: Function = "",
    every: All = False,
    at: Connection = HERE,
) -> None:
    _check_choice(call_ids, every=every)
    with connect(at) as client:
        number = client.redrive(call_ids, namespace, function=function)
    out(f"Queued again: {count(number, 'call')}")


def purge(
    call_ids: Ids = (),
    /,
    *,
    namespace: Namespace = "",
    function: Function = "",
    every: All = False,
    yes: Yes = False,
    at: Connection = HERE,
) -> None:
    _check_choice(call_ids, every=every)
    where = f"namespace {namespace}" if namespace else "the default namespace"
    which = count(len(call_ids), "dead letter") if call_ids else "every dead letter"
    of = f" of {function}" if function else ""
    confirm(harmless(f"Forget {which}{of} in {where}? Their requests are lost."), yes=yes)
    with connect(at) as client:
        number = client.purge(call_ids, namespace, function=function)
    out(f"Deleted: {count(number, 'call')}")


def _check_choice(call_ids: Sequence[str], *, every: bool) -> None:
    if bool(call_ids) == every:
        raise UsageError("name the calls, or use --all" if not every else "name the calls or use --all, not both")


def _write(body: bytes) -> None:
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
