"""Scaling by alerts, as OpenFaaS's community edition does it: a step up while one fires, back to the least when it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from hilbert.core.model import ScalingPolicy
from hilbert.core.values import whole_or

LABEL_SCALE_FACTOR: Final = "com.openfaas.scale.factor"
"""The step, in hundredths of the greatest scale; 0 is no step."""

DEFAULT_FACTOR: Final = 20


def decide_replicas(current: int, labels: Mapping[str, str], *, firing: bool) -> int:
    """How many replicas a function with `labels` should have after an alert. Pure.

    One that sleeps is not woken by the end of an alert.
    """
    policy = ScalingPolicy.of(labels)
    step = math.ceil(policy.max * whole_or(labels.get(LABEL_SCALE_FACTOR), DEFAULT_FACTOR, most=100) / 100)
    if firing and step > 0:
        return min(max(current + step, policy.min), policy.max)
    return policy.min if current > 0 else 0
