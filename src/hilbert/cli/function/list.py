"""`list`: the functions that are deployed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

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
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out
from hilbert.wire.function import Function

_NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)


def list_functions(
    *,
    namespace: Namespace = "",
    all_namespaces: Annotated[bool, flag("List the functions of every namespace.", "--all-namespaces", "-A")] = False,
    verbose: Annotated[bool, flag("Also show images and ages.", "--verbose", "-v")] = False,
    quiet: Annotated[bool, flag("Print only names.", "--quiet", "-q")] = False,
    sort: Annotated[Literal["name", "invocations", "creation"], flag("Sort order.", "--sort")] = "name",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    with connect(at, stack=gateway_of(file)) as client:
        names = sorted(client.list_namespaces()) if all_namespaces else [namespace]
        found = [function for name in names for function in _sorted(client.list_functions(name), sort)]
    if shape.format != "table":
        write_document([sparse(function) for function in found], shape.format)
    elif quiet:
        for function in found:
            out(harmless(function.full_name if all_namespaces else function.name))
    elif all_namespaces:
        _table_of_all(found)
    elif verbose:
        _verbose_table(found)
    else:
        out(f"{'Function':<30}\t{'Invocations':<15}\t{'Replicas':<5}")
        for function in found:
            out(harmless(f"{function.name:<30}\t{function.invocation_count:<15.0f}\t{function.replicas:<5}"))


def _sorted(functions: Sequence[Function], order: str) -> list[Function]:
    if order == "invocations":
        return sorted(functions, key=lambda function: (-function.invocation_count, function.name))
    if order == "creation":
        return sorted(functions, key=lambda function: (function.created_at or _NEVER, function.name))
    return sorted(functions, key=lambda function: function.name)


def _verbose_table(found: Sequence[Function]) -> None:
    width = max([40, *(len(function.image) for function in found)])
    out(f"{'Function':<30}\t{'Image':<{width}}\t{'Invocations':<15}\t{'Replicas':<5}\t\t{'CreatedAt':<5}")
    for function in found:
        line = f"{function.name:<30}\t{function.image:<{width}}\t{function.invocation_count:<15.0f}"
        out(harmless(f"{line}\t{function.replicas:<5}\t\t{go_time(function.created_at):<5}"))


def _table_of_all(found: Sequence[Function]) -> None:
    rows = [("Namespace", "Function", "Invocations", "Replicas", "Image")]
    rows += [
        (
            function.namespace,
            function.name,
            f"{function.invocation_count:.0f}",
            str(function.replicas),
            function.image,
        )
        for function in found
    ]
    for line in columns(rows):
        out(harmless(line))


def sparse(function: Function) -> dict[str, object]:
    """As the gateway writes a function: what is not set is left out, but for labels, annotations and counts."""
    document = msgspec.to_builtins(function)
    always = ("labels", "annotations", "replicas", "availableReplicas", "invocationCount")
    if detail := document.get("hilbert"):
        document["hilbert"] = {key: value for key, value in detail.items() if value not in ("", None)}
    return {key: value for key, value in document.items() if value or key in always}


def go_time(moment: datetime | None) -> str:
    """As Go prints a time: `2023-07-04 16:17:24 +0000 UTC`."""
    return (moment or _NEVER).astimezone(UTC).strftime("%4Y-%m-%d %H:%M:%S +0000 UTC")
