"""Starting a child of the supervisor, and what a child does first."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

CONFIG_FD: Final = 3
"""Where every child finds its configuration."""


def spawn(module: str, config: bytes, *, pass_fds: Sequence[int], environ: dict[str, str]) -> int:
    """Start `python -m module 3` with `config` to read on descriptor 3; returns its pid.

    `pass_fds` keep their numbers, which must be above 3. Signals are unblocked and at their defaults in the child.
    """
    document = os.memfd_create("hilbert-config", os.MFD_CLOEXEC)
    try:
        os.write(document, config)
        os.lseek(document, 0, os.SEEK_SET)
        for descriptor in pass_fds:
            os.set_inheritable(descriptor, True)
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", module, str(CONFIG_FD)],
            environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, document, CONFIG_FD)],
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE],
        )
    finally:
        for descriptor in pass_fds:
            os.set_inheritable(descriptor, False)
        os.close(document)


def read_config(argv: Sequence[str]) -> bytes:
    """In the child: the configuration document."""
    with os.fdopen(int(argv[1]), "rb") as document:
        return document.read()
