"""How calls are answered: one module for each mode of `hilbert.core.bundle.Mode`.

What belongs here: from a `Call` to its response. `make_mode` imports only the mode that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hilbert.kit.epoll.interface import Loop
    from hilbert.watchdog.config import Config
    from hilbert.watchdog.errors import Errors
    from hilbert.watchdog.front import Mode
    from hilbert.watchdog.logs import Log, Pump


def make_mode(config: Config, env: dict[str, str], loop: Loop, log: Log, pump: Pump) -> Mode:
    """The mode that `config` names, python and http aside. Raises `ConfigError` when it cannot work here.

    `log` takes the watchdog's own lines, and through `pump` what processes write about a call.
    """
    match config.mode:
        case "static":
            from hilbert.watchdog.modes.static import Static

            return Static(config)
        case "serializing":
            from hilbert.watchdog.fork import Forker
            from hilbert.watchdog.modes.serializing import Serializing

            return Serializing(config, Forker(config, env, loop, _errors(config, loop, log, pump)), log)
        case "classic":
            from hilbert.watchdog.fork import Forker
            from hilbert.watchdog.modes.classic import Classic

            return Classic(config, Forker(config, env, loop, _errors(config, loop, log, pump)), log)
        case _:
            from hilbert.watchdog.fork import Forker
            from hilbert.watchdog.modes.streaming import Streaming

            return Streaming(config, Forker(config, env, loop, _errors(config, loop, log, pump)), log)


def _errors(config: Config, loop: Loop, log: Log, pump: Pump) -> Errors:
    from hilbert.watchdog.errors import Errors

    return Errors(loop, log, pump, origin=b"stderr: " if config.prefix_logs else b"")
