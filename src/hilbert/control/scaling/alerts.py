"""Scaling by alerts, as OpenFaaS's community edition does it: a step up while one fires, back to the least when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from hilbert.core.model import ScalingPolicy
from hilbert.core.values import FunctionRef, whole_or

LABEL_SCALE_FACTOR: Final = "com.openfaas.scale.factor"
"""The step, in hundredths of the greatest scale; 0 is no step."""

DEFAULT_FACTOR: Final = 20


REPEATED_WITHIN: Final = 9.0
"""Seconds. AlertManager repeats a notification that it counts as failed; that the load goes on it says after its
`group_interval`, which is 10 s in OpenFaaS's installations and 5 m by default."""


class Steps:
    """Which alert had which function scaled last, so that a repetition of it changes nothing."""

    def __init__(self) -> None:
        self._at: dict[tuple[FunctionRef, str], float] = {}

    def is_repeated(self, ref: FunctionRef, alert: str, now: float) -> bool:
        """Whether the same firing alert was followed just now. `now` is of the monotonic clock, in seconds."""
        at = self._at.get((ref, alert))
        return at is not None and now - at < REPEATED_WITHIN

    def followed(self, ref: FunctionRef, alert: str, now: float) -> None:
        """A firing alert has had the function scaled."""
        self._at = {key: at for key, at in self._at.items() if now - at < REPEATED_WITHIN}
        self._at[ref, alert] = now

    def ended(self, ref: FunctionRef, alert: str) -> None:
        """The alert is resolved: when it fires again, that is another one."""
        self._at.pop((ref, alert), None)


def decide_replicas(current: int, labels: Mapping[str, str], *, firing: bool) -> int:
    """How many replicas a function with `labels` should have after an alert. Pure.

    One that sleeps is not woken by the end of an alert.
    """
    policy = ScalingPolicy.of(labels)
    step = math.ceil(policy.max * whole_or(labels.get(LABEL_SCALE_FACTOR), DEFAULT_FACTOR, most=100) / 100)
    if firing and step > 0:
        return min(max(current + step, policy.min), policy.max)
    return policy.min if current > 0 else 0
