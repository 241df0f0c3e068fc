"""The process of mode `http`: started first of all, so that it starts while the watchdog imports what serves it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from hilbert.watchdog.child import Child, find_program, spawn_bound
from hilbert.watchdog.config import ConfigError

if TYPE_CHECKING:
    from hilbert.watchdog.config import Config

TOLD: Final = "WATCHDOG_LOG_FD"
"""The variable with the descriptor on which the process may write lines as `CALL-ID TEXT`."""


def start_process(config: Config, env: dict[str, str], told: int) -> Child:
    """Start it. It ends with this one. `told` takes log lines that name their call; it is closed here. Raises `ConfigError`."""
    try:
        path = find_program(config.command[0], env.get("PATH", os.defpath))
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.set_inheritable(told, True)
            return spawn_bound(path, config.command, env | {TOLD: str(told)}, stdin=null)
        finally:
            os.close(null)
    except OSError as exc:
        raise ConfigError(f"fprocess {config.process_text!r}: {exc}") from exc
    finally:
        os.close(told)
