"""The socket on which a watchdog takes connections."""

from __future__ import annotations

import socket


def listen(descriptor: int, port: int) -> socket.socket:
    """The inherited listening socket, or a new one on TCP `port` of every address. Raises `OSError`."""
    if descriptor >= 0:
        listener = socket.socket(fileno=descriptor)
        listener.set_inheritable(False)
        return listener
    if socket.has_dualstack_ipv6():
        listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    else:
        listener = socket.create_server(("", port), backlog=1024)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Accepted connections inherit it.
    return listener
