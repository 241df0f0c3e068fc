"""Bytes both ways between two connections that have left HTTP, with back-pressure and half-close."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Relay:
    """One direction's receiver: what arrives on its own transport goes to the other one."""

    def __init__(self, own: asyncio.Transport, other: asyncio.Transport, closed: Callable[[], None]) -> None:
        self._own = own
        self._other = other
        self._closed = closed

    def on_data(self, data: bytes) -> None:
        if not self._other.is_closing():
            self._other.write(data)
            _, high = self._other.get_write_buffer_limits()
            if self._other.get_write_buffer_size() > high:
                self._own.pause_reading()

    def on_eof(self) -> None:
        if not self._other.is_closing() and self._other.can_write_eof():
            self._other.write_eof()

    def on_drain(self) -> None:
        """The own transport has room again: the other one may be read from."""
        if not self._other.is_closing():
            self._other.resume_reading()

    def on_close(self) -> None:
        self._other.close()
        self._closed()


def join(one: asyncio.Transport, two: asyncio.Transport, closed: Callable[[], None]) -> tuple[Relay, Relay]:
    """The receivers for both transports. `closed` is called once, when both have closed."""
    left = 2

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            closed()

    return Relay(one, two, count), Relay(two, one, count)
