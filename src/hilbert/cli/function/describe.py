"""A function's description, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import msgspec

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import (
    HERE,
    NO_SOURCE,
    PLAIN,
    Connection,
    Namespace,
    Shape,
    StackSource,
    flag,
)
from hilbert.cli.function.list import sparse
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.moments import moment_text
from hilbert.cli.terminal.output import harmless, out
from hilbert.client.faults import UnexpectedAnswer
from hilbert.client.sync import Client
from hilbert.core.errors import Forbidden, FunctionNotFound, NotFound, Unsupported
from hilbert.wire.function import CallTimeouts, Function, ResourceAmounts
from hilbert.wire.scaling import Scaling
from hilbert.wire.schedule import ScheduleInfo, Schedules

NONE: Final = Schedules()
_COLUMN: Final = 21
_CHANGES: Final = 3
"""Of scaling, that are shown."""
_MEBIBYTE: Final = 1024 * 1024
_TIMEOUTS: Final = {
    "firstByte": "first byte",
    "idle": "between bytes",
    "total": "whole call",
    "activation": "waiting for a replica",
}


def state_of(function: Function) -> str:
    """As OpenFaaS's command line says it."""
    return "Ready" if function.available_replicas > 0 else "Not Ready"


def render_description(
    function: Function,
    url: str,
    async_url: str,
    *,
    schedules: Schedules = NONE,
    scaling: Scaling | None = None,
    verbose: bool,
) -> Iterable[str]:
    """Lines of `describe`; what is not set is left out unless `verbose`."""
    detail = function.hilbert
    blocks: list[tuple[str, list[str]]] = [
        ("Name", [function.name]),
        ("Namespace", [function.namespace]),
        ("Status", [state_of(function)]),
        ("Phase", [detail.phase] if detail else []),
        ("Reason", [detail.reason] if detail else []),
        ("Message", [detail.message] if detail else []),
        ("Warnings", list(detail.warnings) if detail else []),
        ("Replicas", [str(function.replicas)]),
        ("Available Replicas", [str(function.available_replicas)]),
        ("Invocations", [f"{function.invocation_count:.0f}"]),
        ("Image", [function.image]),
        ("Function Process", [function.env_process or "<default>"]),
        ("URL", [url]),
        ("Async URL", [async_url]),
        ("Schedules", _schedules(schedules)),
        *([("Scaling", lines)] if (lines := _scaling(scaling)) else []),
        ("Labels", _entries(function.labels)),
        ("Annotations", _entries(function.annotations)),
        ("Constraints", list(function.constraints or ())),
        ("Environment", _entries(function.env_vars)),
        ("Secrets", list(function.secrets or ())),
        ("Requests", _amounts(function.requests)),
        ("Limits", _amounts(function.limits)),
        ("Usage", _usage(function)),
        ("Timeouts", _timeouts(detail.timeouts if detail else None)),
        ("Runs as", _entries(detail.placement if detail else None)),
    ]
    for title, lines in blocks:
        shown = [line for line in lines if line] or (["<none>"] if verbose else [])
        for number, line in enumerate(shown):
            yield f"{f'{title}:' if number == 0 else '':<{_COLUMN}}{line}"


def _entries(entries: Mapping[str, str] | None) -> list[str]:
    return [f"{key}: {value}" for key, value in sorted((entries or {}).items())]


def _amounts(amounts: ResourceAmounts | None) -> list[str]:
    if amounts is None:
        return []
    return [f"{title}: {value}" for title, value in (("CPU", amounts.cpu), ("Memory", amounts.memory)) if value]


def _usage(function: Function) -> list[str]:
    usage = function.usage
    if usage is None:
        return []
    return [f"RAM: {usage.total_memory_bytes / _MEBIBYTE:.2f} MB", f"CPU: {usage.cpu:.0f} Mi"]


def _schedules(found: Schedules) -> list[str]:
    def when(one: ScheduleInfo) -> str:
        return f"next at {moment_text(one.next[0])}" if one.next else "paused" if one.paused else "never"

    lines = [f"{one.schedule} ({one.timezone}): {when(one)}" for one in found.schedules]
    return lines + [f"not understood: {problem.problem}" for problem in found.problems]


def _find_schedules(client: Client, function: Function) -> Schedules:
    """Those of a function that says that it has some; none where the gateway fires none."""
    if "cron-function" not in (function.annotations or {}).get("topic", ""):
        return NONE
    try:
        return client.list_schedules(function.namespace, function=function.name, count=1)
    except (Unsupported, UnexpectedAnswer, NotFound, Forbidden):  # Other gateways, and callers who may not look.
        return NONE


def _scaling(found: Scaling | None) -> list[str]:
    """What was last decided, and the last changes, the newest first."""
    if found is None or found.rule is None:
        return []
    why = f"{found.reason}: {found.message}" if found.reason else found.message
    changes = [
        f"{one.at}: {one.before} => {one.after} ({one.reason}: {one.message})"
        for one in reversed(found.changes[-_CHANGES:])
    ]
    return [why, *([f"refused: {found.refused}"] if found.refused else []), *changes]


def _find_scaling(client: Client, function: Function) -> Scaling | None:
    """Of a function that has labels of scaling; None where the gateway tells nothing of it."""
    if not any(label.startswith("com.openfaas.scale.") for label in function.labels or {}):
        return None
    try:
        return client.get_scaling(function.name, function.namespace)
    except (Unsupported, UnexpectedAnswer, NotFound, Forbidden):
        return None


def _timeouts(timeouts: CallTimeouts | None) -> list[str]:
    """Zero is no limit."""
    given: dict[str, str] = msgspec.to_builtins(timeouts) if timeouts is not None else {}
    return [
        f"{title}: {'none' if given[key] == '0s' else given[key]}" for key, title in _TIMEOUTS.items() if given.get(key)
    ]


def describe(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")] = "",
    /,
    *,
    named: Annotated[str, flag("Same as the argument.", "--name")] = "",
    namespace: Namespace = "",
    verbose: Annotated[bool, flag("Also show what is not set.", "--verbose", "-v")] = False,
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if not (name or named) or (name and named and name != named):
        raise UsageError("name one function: hilbert describe NAME")
    name, namespace = split_name(name or named, namespace)
    with connect(at, stack=gateway_of(file)) as client:
        try:
            function = client.get_function(name, namespace, usage=True)
        except FunctionNotFound as exc:
            raise Failed(f"no such function: {full_name(name, namespace)}") from exc
        if not function.invocation_count:
            # Some gateways count in the list only.
            listed = {entry.name: entry.invocation_count for entry in client.list_functions(namespace)}
            function = msgspec.structs.replace(function, invocation_count=listed.get(name, 0.0))
        schedules = _find_schedules(client, function)
        scaling = _find_scaling(client, function)
        where = full_name(name, namespace)
        urls = f"{client.url}/function/{where}", f"{client.url}/async-function/{where}"
    if shape.format != "table":
        write_document(
            {
                **sparse(function),
                "Status": state_of(function),
                "InvocationCount": int(function.invocation_count),
                "URL": urls[0],
                "AsyncURL": urls[1],
            },
            shape.format,
        )
        return
    for line in render_description(function, *urls, schedules=schedules, scaling=scaling, verbose=verbose):
        out(harmless(line))
