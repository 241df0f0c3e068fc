"""How records (`wire.audit`) are made: one thing each that was done or refused.

Everything that comes from outside is cut to a length. Values of secrets never come here: of a body, only names of fields do.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from hilbert.wire.audit import Actor, Decision, Record, Stage

__all__ = ["Actor", "Decision", "Record", "Stage", "clean", "encode", "moment", "names", "new_id"]

MAX_TEXT: Final = 256
"""Characters of a text from outside."""
MAX_NAMES: Final = 64
"""Names of fields, policies and resources in one record."""


_TOKEN: Final = re.compile(r"(?<=hilbert_)[0-9A-Za-z]+_[0-9A-Za-z]+|eyJ[\w-]+\.[\w.-]+")
"""The gateway's own tokens, and those of identity providers, where somebody has put them by mistake."""
_MARKS: Final = ("hilbert_", "eyJ")
"""What each of them has."""


def clean(text: str, most: int = MAX_TEXT) -> str:
    """A text that can be written, is no longer than `most` characters, and holds nothing that looks like a token."""
    if len(text) <= most and text.isascii() and not any(mark in text for mark in _MARKS):
        return text
    return _TOKEN.sub("[redacted]", text[: 2 * most + 64]).encode("utf-8", "replace").decode()[:most]


def names(given: Sequence[str]) -> tuple[str, ...]:
    """A list that is no longer than it may be; the last entry says how many are left out."""
    kept = tuple(clean(text, 128) for text in given[:MAX_NAMES])
    return kept if len(given) <= MAX_NAMES else (*kept, f"and {len(given) - MAX_NAMES} more")


def encode(document: object) -> bytes:
    """JSON on one line of printable ASCII: no text can end the line, nor speak to a terminal."""
    plain = msgspec.json.encode(document)
    if plain.isascii():
        return plain
    return json.dumps(msgspec.to_builtins(document), ensure_ascii=True, separators=(",", ":")).encode()


def new_id(now: float | None = None) -> str:
    """A UUID of version 7 (RFC 9562): sorts by time."""
    moment = int((time.time() if now is None else now) * 1000) & ((1 << 48) - 1)
    drawn = secrets.randbits(74)
    number = (moment << 80) | (7 << 76) | (drawn >> 62 << 64) | (0b10 << 62) | (drawn & ((1 << 62) - 1))
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def moment(seconds: float) -> str:
    """Seconds since 1970 in RFC 3339, to the microsecond. Sorts as text."""
    whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{part:06d}Z"
