"""When a deployed function can be called."""

from __future__ import annotations

from typing import Final

from hilbert.core.errors import ActivationTimeout, StartFailed
from hilbert.wire.function import Function

POLL: Final = 0.1
"""Seconds between two looks."""


def is_ready(function: Function) -> bool:
    """True for one whose newest deployment answers, or that sleeps at zero replicas until it is called.

    Raises `StartFailed` when the gateway says that it does not come up.
    """
    detail = function.hilbert
    if detail is None:
        return function.available_replicas > 0
    if detail.phase == "failed":
        why = ": ".join(text for text in (detail.reason, detail.message) if text)
        raise StartFailed(
            f"{function.full_name} does not start: {why}", hint=f"see its logs: hilbert logs {function.full_name}"
        )
    return detail.phase in ("ready", "idle")


def not_ready_in_time(function: Function, timeout: float) -> ActivationTimeout:
    phase = function.hilbert.phase if function.hilbert else "without replicas"
    return ActivationTimeout(f"{function.full_name} is not ready after {timeout:g} s: it is {phase}")
