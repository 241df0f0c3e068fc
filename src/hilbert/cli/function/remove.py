"""`remove`: take functions away."""

from __future__ import annotations

from typing import Annotated

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import (
    HERE,
    NO_FILE,
    Connection,
    Namespace,
    StackFile,
    flag,
)
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import functions_of, gateway_of
from hilbert.cli.terminal.output import out, warn
from hilbert.core.errors import FunctionNotFound


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
