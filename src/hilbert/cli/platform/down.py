"""`down`: stop the platform on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.platform import process
from hilbert.cli.platform.up import StateDir
from hilbert.cli.terminal.output import note, out, warn
from hilbert.cli.terminal.progress import progress
from hilbert.cli.terminal.wording import count
from hilbert.client import running
from hilbert.core import settings as core_settings
from hilbert.core.environment import environment

_STOP_WITHIN: Final = "90s"


def down(
    *,
    state_dir: StateDir = "",
    timeout: Annotated[str, flag("How long to wait for calls in flight.", "--timeout")] = _STOP_WITHIN,
) -> None:
    within = seconds(timeout, "--timeout")
    paths = core_settings.load(environ=environment(), flags={"paths.state_dir": state_dir or None}).settings.paths
    gateway = running.read(Path(paths.state_dir))
    if gateway is None or not running.is_alive(gateway):
        out("No gateway is running here.")
        # One that was killed may have left replicas. Its run folder may have been another than the settings say now.
        if ended := process.sweep(Path(paths.state_dir), Path(gateway.run_dir if gateway else paths.run_dir)):
            out(f"Stopped {count(ended, 'replica')} of a gateway that had been killed.")
        return
    note(f"Stopping the gateway at {gateway.url}")
    with progress("waiting for calls in flight to end"):
        stopped = process.stop(gateway, within=within)
    for lost in process.cut_by_stop(gateway, Path(paths.state_dir)) if stopped else ():
        warn(f"cut off: {lost}")
    out(f"Stopped the gateway at {gateway.url} (pid {gateway.pid})." if stopped else "No gateway is running here.")
