"""The frames of the feed between the control process and the workers, as `docs/internals/seams.md` describes them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.limits import ScopeShare, ScopeUse
from hilbert.core.model import Route

LENGTH_BYTES: Final = 4
MAX_FRAME: Final = 256 * 1024 * 1024
"""More than any table: 10,000 functions take about 2 MiB."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of the table, and which function of that name it is."""

    born: int
    """Differs between a function and one made later under its name. Of one control process; see `Snapshot.epoch`."""
    route: Route


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot", array_like=True):
    """Down: the whole table."""

    epoch: str
    """Of the control process that made it."""
    version: int
    digest: int
    routes: list[Entry]


class Delta(msgspec.Struct, frozen=True, tag="delta", array_like=True):
    """Down: what has changed between `version - 1` and `version`."""

    version: int
    digest: int
    """Of the whole table after this delta."""
    put: list[Entry]
    drop: list[tuple[str, str]]


class Hello(msgspec.Struct, frozen=True, tag="hello", array_like=True):
    """Up, first: who is there."""

    incarnation: str
    index: int


class Resync(msgspec.Struct, frozen=True, tag="resync", array_like=True):
    """Up: what came does not fit what is here; send a snapshot."""


class Applied(msgspec.Struct, frozen=True, tag="applied", array_like=True):
    """Up: the worker's table has this version now."""

    version: int


class Wake(msgspec.Struct, frozen=True, tag="wake", array_like=True):
    """Up: calls wait for a function that has no replica."""

    namespace: str
    name: str


class CodeLevels(msgspec.Struct, array_like=True):
    """Finished calls of one function with one status code."""

    count: int
    seconds: float
    buckets: list[int]
    """Calls per duration bucket, not cumulative, the last one without bound."""


class RouteLevels(msgspec.Struct, frozen=True, array_like=True):
    """One function's counters since the worker's start."""

    namespace: str
    name: str
    born: int
    started: int
    inflight: int
    waiting: int
    cold_starts: int
    retries: int
    codes: dict[int, CodeLevels]
    busy: Mapping[str, int] = {}
    """Calls under way by the address of the replica that has them."""
    received: int = 0
    sent: int = 0
    """Bytes of bodies, of requests and of answers."""


class CallUsed(msgspec.Struct, frozen=True, array_like=True):
    """One call that has ended."""

    namespace: str
    name: str
    started_ns: int
    """Unix time in nanoseconds."""
    seconds: float
    status: int
    received: int
    sent: int
    is_queued: bool


class Used(msgspec.Struct, frozen=True, tag="used", array_like=True):
    """Up, where each call is told: what some have used. Sent again until `UsedKept` comes."""

    number: int
    """Of this worker's messages of the kind, from 1."""
    calls: list[CallUsed]
    lost: int = 0
    """Calls before these that the worker had no room for."""


class Levels(msgspec.Struct, frozen=True, tag="levels", array_like=True):
    """Up: the worker's state, and counters that have changed since the last time; levels, not differences."""

    epoch: str
    routes: list[RouteLevels]
    drift: int
    version: int
    size: int
    connections: int
    limits: list[ScopeUse] = []
    """Limits whose use has changed."""


class Shares(msgspec.Struct, frozen=True, tag="shares", array_like=True):
    """Down: the worker's parts of limits."""

    shares: list[ScopeShare]


class CallKey(msgspec.Struct, frozen=True, array_like=True):
    """A token of the gateway's own, without what would prove it."""

    id: str
    name: str
    digest: bytes
    """SHA-256 of its secret."""
    namespaces: list[str]
    may_call: bool
    until: float = 0.0
    """Seconds since 1970; 0 is for ever."""


class CallPass(msgspec.Struct, frozen=True, array_like=True):
    """What lets the gateway's own calls into a function whose watchdog asks for a token."""

    namespace: str
    name: str
    token: str
    """Opens this function and nothing else."""


class CallKeys(msgspec.Struct, frozen=True, tag="keys", array_like=True):
    """Down: who may call functions that ask for it; whole, at each change."""

    issuer: str
    """Of function tokens; empty: there are none."""
    keys: list[dict[str, str]]
    """Public ones (RFC 7517)."""
    tokens: list[CallKey]
    passes: list[CallPass] = []


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """A call that was refused because of who made it."""

    at: float
    """Seconds since 1970."""
    namespace: str
    name: str
    status: int
    method: str
    source: str
    call_id: str
    who: str
    """The identity of the caller, where that was proved."""
    reason: str


class TurnedAway(msgspec.Struct, frozen=True, tag="turned-away", array_like=True):
    """Up: refused calls, for the audit log."""

    calls: list[Refusal]
    more: int
    """Others like the last one, which were only counted."""


class UsedKept(msgspec.Struct, frozen=True, tag="used-kept", array_like=True):
    """Down: all up to this message of `Used` is on the disk."""

    number: int


Down = Snapshot | Delta | Shares | CallKeys | UsedKept
Up = Hello | Resync | Applied | Wake | Levels | Used | TurnedAway

_encoder = msgspec.msgpack.Encoder()


def frame(message: Down | Up) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def route_digest(route: Route) -> int:
    """A table's digest is the exclusive-or of its routes'."""
    return zlib.crc32(_encoder.encode(route))


class Unframer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies of the frames that are whole now. Raises `ValueError` for one that is too long."""
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= LENGTH_BYTES:
            length = int.from_bytes(self._buffer[start : start + LENGTH_BYTES], "big")
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            end = start + LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[start + LENGTH_BYTES : end]))
            start = end
        del self._buffer[:start]
        return frames
