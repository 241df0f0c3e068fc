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
    Yes,
    flag,
)
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import functions_of, gateway_of
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.output import harmless, out, warn
from hilbert.cli.terminal.wording import count
from hilbert.core.errors import FunctionNotFound


def remove(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE; by default, every function of the stack file.")] = "",
    /,
    *,
    namespace: Namespace = "",
    yes: Yes = False,
    file: StackFile = NO_FILE,
    at: Connection = HERE,
) -> None:
    if name and file.yaml:
        raise UsageError("give either a function or --yaml, not both")
    if name:
        wanted, gateway = [split_name(name, namespace)], gateway_of(file)
    else:
        wanted, gateway = functions_of(file, namespace)
        names = ", ".join(full_name(function, where) for function, where in wanted)
        confirm(f"Remove {count(len(wanted), 'function')} ({harmless(names)})?", yes=yes)
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
        raise Failed(f"{failed} of {count(len(wanted), 'function')} could not be removed")
