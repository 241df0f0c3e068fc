"""How lines hang together: each carries the SHA-256 of the one before, and signed checkpoints stand among them.

A line that is changed, left out, put in or moved breaks the chain at the next line. Whoever rewrites all that follows
cannot sign the checkpoints in it without the key. What cannot be seen from the files alone is that their end was cut off
after the last checkpoint that somebody has noted elsewhere (`verify` takes one).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.audit.record import Record, encode

START: Final = "0" * 64
"""Before the first line of all."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: the line's place in the chain, and what the rest must agree with."""

    time: str
    why: str
    """`start`, `segment`, `count`, `time`, `removed` or `end`."""
    key: str
    """Names the key: the beginning of its hash."""
    kept_from: int
    """Number of the first line that is kept. Older ones were removed because of their age or size."""
    cuts: Mapping[str, int] = {}
    """Namespaces that were deleted, each with the number of the line that says so: what is older was another tenant's."""
    note: str = ""
    """What was found at the start, such as a last line that a crash had torn."""
    mac: str = ""
    """HMAC-SHA256 in hexadecimal digits."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the file: a record or a checkpoint."""

    seq: int
    """Counts lines from 1, without gaps."""
    prev: str
    """SHA-256 of the line before it, without its end."""
    record: Record | None = None
    checkpoint: Checkpoint | None = None


decode: Final = msgspec.json.Decoder(Line).decode


def digest(line: bytes) -> str:
    """Of a line without its end."""
    return hashlib.sha256(line).hexdigest()


def name_of(key: bytes) -> str:
    return hashlib.sha256(b"audit key\n" + key).hexdigest()[:16]


def sign(key: bytes, seq: int, prev: str, given: Checkpoint) -> Checkpoint:
    return msgspec.structs.replace(given, mac=_mac(key, seq, prev, given))


def is_signed(key: bytes, line: Line) -> bool:
    """Whether a checkpoint's signature is right, for its place in the chain."""
    found = line.checkpoint
    return found is not None and hmac.compare_digest(_mac(key, line.seq, line.prev, found), found.mac)


def _mac(key: bytes, seq: int, prev: str, given: Checkpoint) -> str:
    bare = msgspec.structs.replace(given, mac="")
    return hmac.new(key, b"%d\n%b\n%b" % (seq, prev.encode(), encode(bare)), "sha256").hexdigest()


class Chain:
    """The end of a chain, to which lines are added."""

    def __init__(self, key: bytes, *, seq: int = 0, head: str = START) -> None:
        self._key = key
        self.seq = seq
        """Of the last line."""
        self.head = head
        """Its digest."""

    def copy(self) -> Chain:
        """For lines that may not come to be written."""
        return Chain(self._key, seq=self.seq, head=self.head)

    def add(self, record: Record) -> bytes:
        """The line, with its end."""
        return self._put(Line(seq=self.seq + 1, prev=self.head, record=record))

    def add_checkpoint(self, given: Checkpoint) -> bytes:
        named = msgspec.structs.replace(given, key=name_of(self._key))
        signed = sign(self._key, self.seq + 1, self.head, named)
        return self._put(Line(seq=self.seq + 1, prev=self.head, checkpoint=signed))

    def _put(self, line: Line) -> bytes:
        data = encode(line)
        self.seq, self.head = line.seq, digest(data)
        return data + b"\n"
