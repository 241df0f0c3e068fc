"""The log keeper as a process: `python -m hilbert.server.log_keeper FD`, started by the supervisor.

It outlives the control process, so that replicas never wait for a restart of that. `SIGTERM`: copy what is there and end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.settings import Settings
from hilbert.kit import log
from hilbert.kit.lifeline import Lifeline
from hilbert.kit.process import take_descriptors
from hilbert.runtimes.logs.keeper import Keeper
from hilbert.server import child

SOCKET: Final = "logs.sock"
"""In the run folder: where the control process asks."""
PIPES: Final = "pipes"
"""In the run folder: a pipe for each replica."""
LOGS: Final = "logs"
"""In the state folder: what replicas wrote."""

_NICE: Final = 5
"""The keeper gives way to calls: a replica that writes without end waits for it."""


class KeeperConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the log keeper is told."""

    settings: Settings
    listen_fd: int
    lifeline_fd: int


def main(argv: list[str]) -> int:
    config = msgspec.json.decode(child.read_config(argv), type=KeeperConfig)
    lifeline = Lifeline(config.lifeline_fd)
    settings = config.settings
    log.configure(level=settings.log.level, form=settings.log.form)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    keeper = Keeper(
        Path(settings.paths.state_dir) / LOGS,
        Path(settings.paths.run_dir) / PIPES,
        limit=settings.process.log_bytes.units,
        descriptors=take_descriptors(),
        listener=socket.socket(fileno=config.listen_fd),
    )
    signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
    lifeline.beat_from_thread()
    lifeline.ready()
    keeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
