"""Limits of tenants, as annotations: of a namespace, whoever governs it sets them; of a function, its owner, for less."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.errors import Invalid, InvalidSpec
from hilbert.core.values import Quantity, parse_whole

PREFIX: Final = "com.hilbert.limits."
RATE: Final = "rate"
"""Calls a second; may be a fraction."""
BURST: Final = "burst"
"""Calls that may come together after a pause. Without it, those of one second, at least 1."""
CONCURRENCY: Final = "concurrency"
"""Calls at once, those that wait for a replica included."""
HELD: Final = "held"
"""Calls that wait for a replica."""
HELD_BYTES: Final = "held-bytes"
"""Bytes of the bodies of calls that wait for a replica."""
CONNECTIONS: Final = "connections"
"""Connections that stay open: upgraded ones (WebSocket), and those that functions make to the gateway."""
STARTS: Final = "starts"
"""Functions of a namespace that are started from zero at once."""
API_WRITES: Final = "api-writes"
"""Requests a second to the REST API that change something in a namespace."""
LOG_BYTES: Final = "log-bytes"
"""Bytes a second that replicas write to their logs."""

WEIGHT: Final = "weight"
"""On a namespace: its share of what several want at once, processors first of all; 1 without it."""

ANNOTATION_RATE: Final = PREFIX + RATE
ANNOTATION_BURST: Final = PREFIX + BURST
ANNOTATION_CONCURRENCY: Final = PREFIX + CONCURRENCY

PLACES: Final = (CONCURRENCY, HELD, HELD_BYTES, CONNECTIONS)
"""Limits of the data plane on how much there is at once. Workers divide them."""
WRITES_BURST: Final = 10.0
"""Seconds whose changes through the REST API may come together: a stack is deployed in one go."""

_NUMBER: Final = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,6})?")
_MOST: Final = 1_000_000
_MOST_BYTES: Final = 1 << 50
_LEAST_WEIGHT: Final = 0.01
_MOST_WEIGHT: Final = 100.0
_LEAST_LOG_BYTES: Final = 1024
"""Less would hold up a replica for one line."""

Scope = tuple[str, str]
"""Namespace and function; an empty function: the namespace as a whole."""


class CallLimits(msgspec.Struct, frozen=True, array_like=True):
    """What the calls of one scope are held to. 0 is no limit."""

    rate: float = 0.0
    burst: int = 0
    """Given wherever `rate` is."""
    concurrency: int = 0
    held: int = 0
    held_bytes: int = 0
    connections: int = 0

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> CallLimits | None:
        """From annotations; None where they set no limit. Raises `InvalidSpec`, naming the annotation."""
        rate = _rate(annotations, RATE, "calls")
        burst = _count(annotations, BURST)
        if burst and not rate:
            raise InvalidSpec(f"annotation {ANNOTATION_BURST}: has no effect without {ANNOTATION_RATE}")
        found = cls(
            rate,
            (burst or max(1, math.ceil(rate))) if rate else 0,
            _count(annotations, CONCURRENCY),
            _count(annotations, HELD),
            _bytes(annotations, HELD_BYTES, least=1),
            _count(annotations, CONNECTIONS),
        )
        return None if found == cls() else found

    def places(self) -> dict[str, int]:
        """The limits on how much there is at once, by name; those that are set."""
        given = zip(PLACES, (self.concurrency, self.held, self.held_bytes, self.connections), strict=True)
        return {name: most for name, most in given if most}


class TenantLimits(msgspec.Struct, frozen=True):
    """What a namespace is held to outside the data plane. 0 is no limit."""

    starts: int = 0
    api_writes: float = 0.0
    """A second; `WRITES_BURST` seconds' worth may come together."""
    log_bytes: int = 0
    """A second; also of a function."""
    weight: float = 1.0
    """Its share against other namespaces' where there is not enough for all."""

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> TenantLimits:
        """Raises `InvalidSpec`, naming the annotation."""
        return cls(
            _count(annotations, STARTS),
            _rate(annotations, API_WRITES, "changes"),
            _bytes(annotations, LOG_BYTES, least=_LEAST_LOG_BYTES),
            _weight(annotations),
        )

    @classmethod
    def usable(cls, annotations: Mapping[str, str]) -> TenantLimits:
        """The same, but wrong annotations, which can come from elsewhere, set no limit."""
        try:
            return cls.of(annotations)
        except InvalidSpec:
            return cls()


def told(name: str, value: float) -> str:
    """A limit's value as a reader writes it."""
    units = {
        RATE: "calls a second",
        CONCURRENCY: "calls at once",
        HELD: "calls that wait for a replica",
        HELD_BYTES: "bytes of calls that wait for a replica",
        CONNECTIONS: "open connections",
        STARTS: "functions started from zero at once",
        API_WRITES: "changes a second",
        LOG_BYTES: "bytes of log a second",
    }
    return f"{value:g} {units[name]}" if value != int(value) else f"{int(value)} {units[name]}"


class LogUse(msgspec.Struct, frozen=True, array_like=True):
    """How a limit on what is written to logs is used."""

    rate: float
    """Bytes a second, over the last ten seconds."""
    waited: int
    """How often a replica had to wait."""


class ScopeUse(msgspec.Struct, frozen=True, array_like=True):
    """How one worker has used a limit. Counts are since its start."""

    scope: Scope
    limits: CallLimits
    asked: int
    """Calls that came, refused ones included."""
    used: Mapping[str, int] = {}
    """How much there is now, by the name of the limit (`PLACES`)."""
    refused: Mapping[str, int] = {}
    """How often it was refused, by the name of the limit."""


class ScopeShare(msgspec.Struct, frozen=True, array_like=True):
    """One worker's part of a limit."""

    scope: Scope
    rate: float
    """Calls a second; the burst is divided in the same way."""
    places: Mapping[str, int] = {}


def _rate(annotations: Mapping[str, str], name: str, what: str) -> float:
    text = annotations.get(PREFIX + name)
    if text is None:
        return 0.0
    if _NUMBER.fullmatch(text) is None or not 0 < float(text) <= _MOST:
        raise InvalidSpec(
            f"annotation {PREFIX}{name}: must be a number of {what} a second, above 0 and up to {_MOST}",
            hint="write it like 50 or 0.5",
        )
    return float(text)


def _weight(annotations: Mapping[str, str]) -> float:
    text = annotations.get(PREFIX + WEIGHT)
    if text is None:
        return 1.0
    if _NUMBER.fullmatch(text) is None or not _LEAST_WEIGHT <= float(text) <= _MOST_WEIGHT:
        raise InvalidSpec(
            f"annotation {PREFIX}{WEIGHT}: must be a number from {_LEAST_WEIGHT} to {_MOST_WEIGHT:g}",
            hint="2 is twice the share of a namespace that has none",
        )
    return float(text)


def _count(annotations: Mapping[str, str], name: str) -> int:
    text = annotations.get(PREFIX + name)
    if text is None:
        return 0
    try:
        return parse_whole(text, least=1, most=_MOST)
    except Invalid as exc:
        raise InvalidSpec(f"annotation {PREFIX}{name}: must be a whole number from 1 to {_MOST}") from exc


def _bytes(annotations: Mapping[str, str], name: str, *, least: int) -> int:
    text = annotations.get(PREFIX + name)
    if text is None:
        return 0
    try:
        size = Quantity.parse(text).units
    except Invalid as exc:
        raise InvalidSpec(f"annotation {PREFIX}{name}: {exc.message}") from exc
    if not least <= size <= _MOST_BYTES:
        raise InvalidSpec(
            f"annotation {PREFIX}{name}: must be at least {least} bytes and at most 1Pi",
            hint="write it like 64Ki or 16Mi",
        )
    return size
