"""Messages with descriptors over a unix socket that keeps their bounds (`SOCK_SEQPACKET`), and their listening sockets."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MESSAGE_MOST: Final = 64 * 1024
_DESCRIPTORS_MOST: Final = 64


def listen(path: Path) -> socket.socket:
    """A listening socket at `path` that only this user can reach, in place of a stale one. Raises `OSError`."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # Nobody can connect before it listens.
        listener.listen(64)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket:
    """A connection that does not block. Raises `OSError`, at once when nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.setblocking(False)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def send(connection: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one message; the descriptors stay the sender's, too. Raises `OSError`, `BlockingIOError` among them."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([message], rights, socket.MSG_NOSIGNAL)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One message with its descriptors, which are the receiver's to close; an empty one at the end. Raises `OSError`."""
    room = socket.CMSG_SPACE(_DESCRIPTORS_MOST * array.array("i").itemsize)
    message, ancillary, flags, _ = connection.recvmsg(MESSAGE_MOST, room, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close(found)
        raise OSError("a message was longer than agreed")
    return message, list(found)


def close(descriptors: Sequence[int]) -> None:
    """Close them all; those that are closed already are passed over."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
