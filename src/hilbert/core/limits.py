"""Limits on calls: how often, and how many at once. Of a namespace, whoever governs it sets them; of a function, its owner."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.errors import Invalid, InvalidSpec
from hilbert.core.values import parse_whole

ANNOTATION_RATE: Final = "com.hilbert.limits.rate"
"""Calls a second; may be a fraction."""
ANNOTATION_BURST: Final = "com.hilbert.limits.burst"
"""Calls that may come together after a pause. Without it, those of one second, at least 1."""
ANNOTATION_CONCURRENCY: Final = "com.hilbert.limits.concurrency"
"""Calls at once, those that wait for a replica included."""

_RATE: Final = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,6})?")
_MOST: Final = 1_000_000

Scope = tuple[str, str]
"""Namespace and function; an empty function: the namespace as a whole."""


class CallLimits(msgspec.Struct, frozen=True, array_like=True):
    """What the calls of one scope are held to. 0 is no limit."""

    rate: float = 0.0
    burst: int = 0
    """Given wherever `rate` is."""
    concurrency: int = 0

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> CallLimits | None:
        """From annotations; None where they set no limit. Raises `InvalidSpec`, naming the annotation."""
        rate = _rate(annotations)
        burst = _count(annotations, ANNOTATION_BURST)
        concurrency = _count(annotations, ANNOTATION_CONCURRENCY)
        if burst and not rate:
            raise InvalidSpec(f"annotation {ANNOTATION_BURST}: means nothing without {ANNOTATION_RATE}")
        if not rate and not concurrency:
            return None
        return cls(rate, (burst or max(1, math.ceil(rate))) if rate else 0, concurrency)


class ScopeUse(msgspec.Struct, frozen=True, array_like=True):
    """How one worker has used a limit. Counts are since its start."""

    scope: Scope
    limits: CallLimits
    asked: int
    """Calls that came, refused ones included."""
    refused_rate: int
    refused_concurrency: int
    inflight: int


class ScopeShare(msgspec.Struct, frozen=True, array_like=True):
    """One worker's part of a limit."""

    scope: Scope
    rate: float
    """Calls a second; the burst is divided in the same way."""
    concurrency: int


def _rate(annotations: Mapping[str, str]) -> float:
    text = annotations.get(ANNOTATION_RATE)
    if text is None:
        return 0.0
    if _RATE.fullmatch(text) is None or not 0 < float(text) <= _MOST:
        raise InvalidSpec(
            f"annotation {ANNOTATION_RATE}: must be a number of calls a second, above 0 and up to {_MOST}",
            hint="write it like 50 or 0.5",
        )
    return float(text)


def _count(annotations: Mapping[str, str], key: str) -> int:
    text = annotations.get(key)
    if text is None:
        return 0
    try:
        return parse_whole(text, least=1, most=_MOST)
    except Invalid as exc:
        raise InvalidSpec(f"annotation {key}: must be a whole number from 1 to {_MOST}") from exc
