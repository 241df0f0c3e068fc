"""What an answer means for a queued call: its end, another try, or giving up. Pure.

OpenFaaS's rules (`com.openfaas.retry.*`): some statuses are tried again, and whatever the platform itself answered;
waits double from the least to the most; `Retry-After` counts with 429 and 503, never below the least wait.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from hilbert.control.delivery.request import QueuedAnswer
from hilbert.core.errors import Invalid
from hilbert.core.model import ANNOTATION_RESULTS
from hilbert.core.values import Duration, parse_whole
from hilbert.kit.pace import Draw, Pace

ANNOTATION_ATTEMPTS: Final = "com.openfaas.retry.attempts"
ANNOTATION_CODES: Final = "com.openfaas.retry.codes"
ANNOTATION_MIN_WAIT: Final = "com.openfaas.retry.min_wait"
ANNOTATION_MAX_WAIT: Final = "com.openfaas.retry.max_wait"

_MOST_ATTEMPTS: Final = 1000
_LONGEST_WAIT: Final = 86_400.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How one function's queued calls are tried again."""

    attempts: int = 10
    """In all."""
    codes: frozenset[int] = frozenset({408, 429, 500, 502, 503, 504})
    min_wait: float = 10.0
    """Seconds, as are the others."""
    max_wait: float = 120.0
    jitter: float = 0.5
    """The share of a wait that is random."""
    results: float = 0.0
    """How long an answer is kept; 0: not at all."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of an attempt."""

    reason: str
    succeeded: bool = False
    wait: float | None = None
    """Seconds until the next attempt; None: this was the last."""
    dead: bool = False
    """Given up: it becomes a dead letter."""


def policy_of(annotations: Mapping[str, str], default: RetryPolicy) -> tuple[RetryPolicy, list[str]]:
    """A function's policy. A wrong annotation leaves the default in force; the list says what is wrong."""
    wrong: list[str] = []
    values: dict[str, object] = {}
    for key, name, parse in (
        (ANNOTATION_ATTEMPTS, "attempts", lambda text: parse_whole(text, least=1, most=_MOST_ATTEMPTS)),
        (ANNOTATION_CODES, "codes", _codes),
        (ANNOTATION_MIN_WAIT, "min_wait", _seconds),
        (ANNOTATION_MAX_WAIT, "max_wait", _seconds),
        (ANNOTATION_RESULTS, "results", _seconds),
    ):
        if key in annotations:
            try:
                values[name] = parse(annotations[key].strip())
            except Invalid as exc:
                wrong.append(f"annotation {key}: {exc.message}")
    return msgspec.structs.replace(default, **values), wrong


def decide(
    now: float,
    policy: RetryPolicy,
    attempt: int,
    answer: QueuedAnswer | None,
    *,
    internal: bool = False,
    draw: Draw = random.random,
) -> Decision:
    """After the `attempt`-th attempt. `answer` is None when there was none; `internal`: the platform itself answered."""
    status = answer.status if answer is not None else 503
    reason = (
        f"the function answered {status}" if answer is not None and not internal else "the function was not reached"
    )
    if answer is not None and not internal and status not in policy.codes:
        return Decision(reason=reason, succeeded=status < 400)
    if attempt >= policy.attempts:
        return Decision(reason=f"{reason}; given up after {attempt} attempts", dead=True)
    wait = Pace(policy.min_wait, max(policy.max_wait, policy.min_wait), policy.jitter).delay(attempt, draw=draw)
    if answer is not None and status in (429, 503):
        asked = retry_after(answer.field(b"retry-after"), now)
        if asked is not None:
            wait = max(asked, policy.min_wait)
    return Decision(reason=reason, wait=min(wait, _LONGEST_WAIT))


def retry_after(value: bytes, now: float) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date (RFC 9110, section 10.2.3); None when it says nothing."""
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), _LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(date.timestamp() - now, 0.0), _LONGEST_WAIT)


def _codes(text: str) -> frozenset[int]:
    return frozenset(parse_whole(part.strip(), least=100, most=599) for part in text.split(","))


def _seconds(text: str) -> float:
    return min(Duration.parse(text, bare_seconds=True).seconds, _LONGEST_WAIT)
