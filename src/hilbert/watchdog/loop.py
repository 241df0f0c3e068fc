"""What the watchdog needs of an event loop: a part of asyncio's, so that either asyncio's or a smaller one serves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """The subset of `asyncio.AbstractEventLoop` in use; the meaning of each method is asyncio's."""

    def time(self) -> float: ...
    def call_soon(self, callback: Callable[..., Any], *args: Any) -> Any: ...
    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> Any: ...
    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer: ...
    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> Any: ...
    def remove_reader(self, fd: int) -> Any: ...
    def add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> Any: ...
    def remove_writer(self, fd: int) -> Any: ...
    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> Any: ...
    def stop(self) -> None: ...


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
