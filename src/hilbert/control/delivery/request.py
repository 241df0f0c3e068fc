"""A queued call's request and answer, as a queue keeps them: bytes that it does not look into."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import uuid
from typing import Final

import msgspec

Fields = tuple[tuple[bytes, bytes], ...]

MOST_DEPTH: Final = 16
"""Queued calls that may cause one another in a row: a function that queues a call of itself ends there."""
DEPTH_FIELD: Final = b"X-Hilbert-Depth"


_SECRET: Final = secrets.token_bytes(32)
_NUMBERS: Final = itertools.count()


def new_id() -> str:
    """An id for a call that nobody can guess: a UUID (RFC 9562, version 4).

    Drawn from a secret of this process and a number, since asking the kernel for each takes longer than all else at a tick
    of thousands of schedules.
    """
    number = b"%d %d" % (os.getpid(), next(_NUMBERS))
    return str(uuid.UUID(bytes=hashlib.blake2b(number, key=_SECRET, digest_size=16).digest(), version=4))


class QueuedRequest(msgspec.Struct, frozen=True, array_like=True):
    """What is sent to the function."""

    method: str
    target: bytes
    """Path and query below the function's name, byte for byte; begins with `/`."""
    fields: Fields
    """Headers that pass to the function, without those of a single hop."""
    body: bytes
    callback: str = ""
    """Address that is told the answer; empty: nobody."""
    depth: int = 0
    """How many queued calls led to this one."""
    is_vouched: bool = False
    """Whoever queued it has proved that it may call the call-back's function, too: see `api.async_calls`."""

    def dump(self) -> bytes:
        return _encode(self)

    @classmethod
    def load(cls, data: bytes) -> QueuedRequest:
        """Raises `msgspec.MsgspecError`."""
        return msgspec.msgpack.decode(data, type=cls)


class QueuedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What came back, as far as it is kept."""

    status: int
    fields: Fields
    body: bytes
    cut: bool = False
    """The body was longer than what is kept."""

    def dump(self) -> bytes:
        return _encode(self)

    @classmethod
    def load(cls, data: bytes) -> QueuedAnswer:
        """Raises `msgspec.MsgspecError`."""
        return msgspec.msgpack.decode(data, type=cls)

    def field(self, name: bytes) -> bytes:
        """The last value of a header; empty if there is none. `name` in lower case."""
        return next((value for key, value in reversed(self.fields) if key.lower() == name), b"")


_encode = msgspec.msgpack.Encoder().encode
