"""A replica's listening socket, which its watchdog inherits."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from hilbert.core.errors import StartFailed

_SOCKET_MOST: Final = 107
"""Bytes of a unix socket's path (unix(7))."""
_BACKLOG: Final = 4096


def listen(path: Path) -> socket.socket:
    """A listening socket that nobody but this user can reach. Raises `StartFailed` and `OSError`."""
    if len(os.fsencode(path)) > _SOCKET_MOST:
        raise StartFailed(
            f"the run directory's name is too long for sockets in it: {path} has more than {_SOCKET_MOST} bytes",
            hint="set paths.run_dir to a short one",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # Nobody can connect before it listens.
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
