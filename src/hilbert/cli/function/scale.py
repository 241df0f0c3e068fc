"""`scale`: set a function's number of replicas."""

from __future__ import annotations

from typing import Annotated

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import (
    HERE,
    NO_SOURCE,
    Connection,
    Namespace,
    StackSource,
    flag,
)
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.output import out


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
