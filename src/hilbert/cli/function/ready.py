"""`ready`: wait for the gateway or for a function."""

from __future__ import annotations

import time
from typing import Annotated

from hilbert.cli.frame.failures import Failed, UsageError, hint_of
from hilbert.cli.frame.flags import HERE, NO_SOURCE, Connection, Namespace, StackSource, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.output import note, out
from hilbert.cli.terminal.wording import count
from hilbert.client.sync import Client
from hilbert.core.errors import HilbertError, Unauthenticated


def ready(
    name: Annotated[str, flag("Function to wait for; by default, the gateway.")] = "",
    /,
    *,
    namespace: Namespace = "",
    attempts: Annotated[int, flag("Number of attempts.", "--attempts")] = 60,
    interval: Annotated[
        str, flag("Pause between attempts, and how long to wait for each answer.", "--interval")
    ] = "1s",
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
) -> None:
    pause = seconds(interval, "--interval")
    if attempts < 1:
        raise UsageError(f"--attempts {attempts}: must be at least 1")
    name, namespace = split_name(name, namespace)
    what = f"function {full_name(name, namespace)}" if name else "gateway"
    why = hint = ""
    with connect(at, stack=gateway_of(file), timeout=max(pause, 1.0)) as client:
        for attempt in range(1, attempts + 1):
            note(f"[{attempt}/{attempts}] Waiting for {what}")
            try:
                if _is_ready(client, name, namespace):
                    out(f"Function {name} is ready" if name else "OpenFaaS gateway is ready")
                    return
                why, hint = "no replica is ready", f"find out why with 'hilbert doctor {full_name(name, namespace)}'"
            except Unauthenticated:
                raise
            except HilbertError as exc:
                why, hint = exc.message, hint_of(exc)
            if attempt < attempts:
                time.sleep(pause)
    raise Failed(f"{what} is not ready after {count(attempts, 'attempt')}: {why}", hint=hint)


def _is_ready(client: Client, name: str, namespace: str) -> bool:
    if not name:
        client.check_health()
        return True
    return client.get_function(name, namespace, usage=True).available_replicas > 0
