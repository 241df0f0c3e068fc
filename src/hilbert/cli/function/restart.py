"""`restart`: replace a function's replicas."""

from __future__ import annotations

from typing import Annotated

from hilbert.cli.frame.failures import Failed
from hilbert.cli.frame.flags import HERE, NO_SOURCE, Connection, Namespace, StackSource, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.function.rollout import Outcome, is_idle, wait_until_ready
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.output import note, out
from hilbert.cli.terminal.progress import progress
from hilbert.core.errors import FunctionNotFound


def restart(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")],
    /,
    *,
    no_wait: Annotated[bool, flag("Return as soon as the gateway has accepted the restart.", "--no-wait")] = False,
    ready_timeout: Annotated[str, flag("How long to wait for the new replicas.", "--ready-timeout")] = "2m",
    namespace: Namespace = "",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    limit = seconds(ready_timeout, "--ready-timeout")
    name, namespace = split_name(name, namespace)
    where = full_name(name, namespace)
    with connect(at, stack=gateway_of(file)) as client:
        try:
            client.restart_function(name, namespace)
        except FunctionNotFound as exc:
            raise Failed(f"no such function: {where}") from exc
        if no_wait:
            out(f"Restarting: {where}")
            return
        if is_idle(client.get_function(name, namespace)):
            out(f"Restarted: {where}; it is scaled to zero, and its next call starts a new replica")
            return
        note(f"Restarting: {where}.")
        outcome = Outcome(name=name, namespace=namespace)
        with progress(f"waiting for {where}"):
            wait_until_ready(client, outcome, limit)
    if outcome.error:
        raise Failed(outcome.error, hint=outcome.hint)
    out(f"Restarted: {where}")
