"""`list`, `describe`, `remove`, `scale`: functions that are deployed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from hilbert.cli import shapes
from hilbert.cli.description import render_description, state_of
from hilbert.cli.failures import Failed, UsageError
from hilbert.cli.options import (
    HERE,
    NO_FILE,
    NO_SOURCE,
    PLAIN,
    Connection,
    Namespace,
    Shape,
    StackFile,
    StackSource,
    flag,
)
from hilbert.cli.stackfile import functions_of, gateway_of
from hilbert.cli.target import connect
from hilbert.cli.terminal import columns, harmless, out, warn
from hilbert.cli.values import full_name, split_name
from hilbert.client.types import Function
from hilbert.core.errors import FunctionNotFound

_NEVER: Final = datetime(1, 1, 1, tzinfo=UTC)


def list_functions(
    *,
    namespace: Namespace = "",
    all_namespaces: Annotated[bool, flag("List every namespace.", "--all-namespaces", "-A")] = False,
    verbose: Annotated[bool, flag("Show images and ages too.", "--verbose", "-v")] = False,
    quiet: Annotated[bool, flag("Names only.", "--quiet", "-q")] = False,
    sort: Annotated[Literal["name", "invocations", "creation"], flag("Order.", "--sort")] = "name",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    with connect(at, stack=gateway_of(file)) as client:
        names = sorted(client.list_namespaces()) if all_namespaces else [namespace]
        found = [function for name in names for function in _sorted(client.list_functions(name), sort)]
    if shape.format != "table":
        shapes.write([sparse(function) for function in found], shape.format)
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


def describe(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")] = "",
    /,
    *,
    named: Annotated[str, flag("Same as the word.", "--name")] = "",
    namespace: Namespace = "",
    verbose: Annotated[bool, flag("Show what is not set too.", "--verbose", "-v")] = False,
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if not (name or named) or (name and named and name != named):
        raise UsageError("say which function: hilbert describe NAME")
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
        where = full_name(name, namespace)
        urls = f"{client.url}/function/{where}", f"{client.url}/async-function/{where}"
    if shape.format != "table":
        shapes.write(
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
    for line in render_description(function, *urls, verbose=verbose):
        out(harmless(line))


def remove(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE; without one, those of the stack file.")] = "",
    /,
    *,
    namespace: Namespace = "",
    file: StackFile = NO_FILE,
    at: Connection = HERE,
) -> None:
    if name and file.yaml:
        raise UsageError("a function and --yaml exclude each other")
    if name:
        wanted, gateway = [split_name(name, namespace)], gateway_of(file)
    else:
        wanted, gateway = functions_of(file, namespace)
    failed = 0
    with connect(at, stack=gateway) as client:
        for function, where in wanted:
            out(f"Deleting: {full_name(function, where)}")
            try:
                client.delete_function(function, where)
            except FunctionNotFound as exc:
                if len(wanted) == 1:
                    raise Failed(f"no existing function to remove: {full_name(function, where)}") from exc
                warn(f"no existing function to remove: {full_name(function, where)}")
                failed += 1
            else:
                out("Removing old function.")
    if failed:
        raise Failed(f"{failed} of {len(wanted)} functions could not be removed")


def scale(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")],
    replicas: Annotated[int, flag("Number of replicas.")],
    /,
    *,
    namespace: Namespace = "",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    if replicas < 0:
        raise UsageError(f"{replicas}: the number of replicas must be 0 or more")
    name, namespace = split_name(name, namespace)
    with connect(at, stack=gateway_of(file)) as client:
        client.scale_function(name, replicas, namespace)
    out(f"Scaled: {full_name(name, namespace)} to {replicas}")
