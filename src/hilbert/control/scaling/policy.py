"""What a function's labels `com.openfaas.scale.*` ask for: by which load, towards what, within which bounds.

The labels, their defaults and what counts as wrong are those of OpenFaaS's documentation (architecture/autoscaling).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.errors import Invalid
from hilbert.core.model import LABEL_SCALE_ZERO, ScalingPolicy
from hilbert.core.values import Duration, parse_boolean

LABEL_TYPE: Final = "com.openfaas.scale.type"
LABEL_TARGET: Final = "com.openfaas.scale.target"
LABEL_PROPORTION: Final = "com.openfaas.scale.target-proportion"
LABEL_MAX: Final = "com.openfaas.scale.max"
LABEL_ZERO_AFTER: Final = "com.openfaas.scale.zero-duration"
LABEL_WINDOW: Final = "com.openfaas.scale.down.window"

RPS: Final = "rps"
CAPACITY: Final = "capacity"
CPU: Final = "cpu"
QUEUE: Final = "queue"
KNOWN: Final = frozenset({RPS, CAPACITY, CPU, QUEUE})
"""Loads that the platform measures itself. Any other name is a query that an administrator has set."""

DEFAULT_TARGET: Final = 50.0
DEFAULT_PROPORTION: Final = 0.9
BOUNDS_ONLY_TARGET: Final = 5.0
"""Calls a second for one replica of a function that states a greatest count and nothing else: the threshold of the alert
that OpenFaaS's community edition installs."""
ZERO_AFTER: Final = 900.0
LONGEST_WINDOW: Final = 300.0

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_MOST_TARGET: Final = 1e9


class LoadPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How one function scales. Times are in seconds."""

    kind: str = ""
    """The load that counts: one of `KNOWN`, or the name of a query. Empty: none, only `zero` may apply."""
    target: float = DEFAULT_TARGET
    """Load for one replica: calls a second, calls at once, thousandths of a core, queued calls, or the query's unit."""
    proportion: float = DEFAULT_PROPORTION
    """How much of `target` a replica is to be filled to."""
    min: int = 1
    max: int = 20
    zero: bool = False
    """Whether an idle function goes to zero replicas."""
    zero_after: float = ZERO_AFTER
    """How long nobody may have called it by then."""
    window: float = 0.0
    """How far back the highest recommendation still keeps the count from falling."""

    @property
    def by_load(self) -> bool:
        """Whether load changes the count. With equal bounds it cannot."""
        return bool(self.kind) and self.min != self.max


def read_policy(
    labels: Mapping[str, str], *, default_target: float = DEFAULT_TARGET
) -> tuple[LoadPolicy, tuple[str, ...]]:
    """The policy, and a sentence for each label that says nothing sensible: it counts as not given, as in OpenFaaS.

    A function without a label of scaling is not scaled by load.
    """
    wrong: list[str] = []
    bounds = ScalingPolicy.of(labels)
    kind, target = "", default_target
    if {LABEL_TYPE, LABEL_TARGET, LABEL_PROPORTION} & labels.keys():
        kind = RPS
    elif LABEL_MAX in labels:
        kind, target = RPS, BOUNDS_ONLY_TARGET
    named = labels.get(LABEL_TYPE)
    if named is not None:
        if _NAME.fullmatch(named):
            kind = named
        else:
            wrong.append(f"{LABEL_TYPE}: {named[:64]!r} is not a known load metric; rps is used")
    policy = LoadPolicy(
        kind=kind,
        target=_number(labels, LABEL_TARGET, target, _MOST_TARGET, wrong),
        proportion=_number(labels, LABEL_PROPORTION, DEFAULT_PROPORTION, 1.0, wrong),
        min=bounds.min,
        max=bounds.max,
        zero=_boolean(labels, LABEL_SCALE_ZERO, wrong),
        zero_after=_seconds(labels, LABEL_ZERO_AFTER, ZERO_AFTER, math.inf, wrong),
        window=_seconds(labels, LABEL_WINDOW, 0.0, LONGEST_WINDOW, wrong),
    )
    return policy, tuple(wrong)


def _number(labels: Mapping[str, str], key: str, default: float, most: float, wrong: list[str]) -> float:
    """A number above 0 and up to `most`."""
    text = labels.get(key)
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,12})?|\.[0-9]{1,12}", text) and 0 < float(text) <= most:
        return float(text)
    wrong.append(f"{key}: {text[:64]!r} is not a number above 0 and up to {most:g}; {default:g} is used")
    return default


def _boolean(labels: Mapping[str, str], key: str, wrong: list[str]) -> bool:
    text = labels.get(key)
    if text is None:
        return False
    try:
        return parse_boolean(text)
    except Invalid:
        wrong.append(f"{key}: {text[:64]!r} is neither true nor false; false is used")
        return False


def _seconds(labels: Mapping[str, str], key: str, default: float, most: float, wrong: list[str]) -> float:
    """A duration above 0, at most `most`: a longer one counts as that."""
    text = labels.get(key)
    if text is None:
        return default
    try:
        seconds = Duration.parse(text, bare_seconds=True).seconds
    except Invalid as exc:
        wrong.append(f"{key}: {exc.message}; {'none' if not default else Duration.of(default)} is used")
        return default
    if seconds <= 0:
        wrong.append(f"{key}: it must be more than 0; {'none' if not default else Duration.of(default)} is used")
        return default
    if seconds > most:
        wrong.append(f"{key}: the most is {Duration.of(most)}, which is used")
    return min(seconds, most)
