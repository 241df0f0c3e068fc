"""A TCP port for a program that can take neither a listening socket, nor a unix socket, nor port 0."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port that the kernel picked and that stays ours inside the block, whether or not the program runs.

    The socket that holds it is bound with `SO_REUSEADDR` and never listens. Linux then gives the port to no other program
    that asks for a free one, and lets a server listen there that sets `SO_REUSEADDR`, too: Python's and Go's servers,
    Caddy, the registry and our own do. Until then, connections are refused.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("0.0.0.0", 0))  # Some servers listen at all addresses, so nobody else may have it at any.
        port: int = holder.getsockname()[1]
        yield port
