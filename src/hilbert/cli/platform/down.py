"""`down`: stop the platform on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.platform import process
from hilbert.cli.platform.up import StateDir
from hilbert.cli.terminal.output import note, out
from hilbert.cli.terminal.progress import progress
from hilbert.client import running
from hilbert.core.settings import environment

if TYPE_CHECKING:
    pass


_STOP_WITHIN: Final = "90s"


def down(
    *,
    state_dir: StateDir = "",
    timeout: Annotated[str, flag("How long to wait for calls in flight.", "--timeout")] = _STOP_WITHIN,
) -> None:
    within = seconds(timeout, "--timeout")
    gateway = running.find(environment(), flag=state_dir)
    if gateway is None or not running.is_alive(gateway):
        out("No gateway is running here.")
        return
    note(f"Stopping the gateway at {gateway.url}")
    with progress("waiting for calls in flight to end"):
        stopped = process.stop(gateway, within=within)
    out(f"Stopped the gateway at {gateway.url} (pid {gateway.pid})." if stopped else "No gateway is running here.")
