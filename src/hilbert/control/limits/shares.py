"""How a limit is divided over those who enforce it, by what each is asked for. Pure.

Max-min fairness: whoever asks for less than an equal part gets what it asks for, the others share the rest equally. What nobody
asks for is divided equally, too, so that calls which come somewhere else next are not refused for a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_KEPT: Final = 0.05
"""The part of a limit that is divided equally whatever is asked for: nobody is left with nothing to begin with."""


def divide(limit: float, asked: Sequence[float]) -> list[float]:
    """Parts of `limit` that add up to it, one for each of `asked` (none of them negative)."""
    count = len(asked)
    if not count:
        return []
    kept = limit * _KEPT / count
    rest = limit * (1 - _KEPT)
    parts = [0.0] * count
    open_to = sorted(range(count), key=lambda one: asked[one])
    for position, one in enumerate(open_to):
        parts[one] = min(asked[one], rest / (count - position))
        rest -= parts[one]
    return [kept + part + rest / count for part in parts]


def divide_whole(limit: int, asked: Sequence[float]) -> list[int]:
    """The same in whole numbers, each at least 1: their sum is `limit`, or one for each where there are more than that."""
    parts = divide(limit, asked)
    floors = [max(1, int(part)) for part in parts]
    left = limit - sum(floors)
    by_rest = sorted(range(len(parts)), key=lambda one: floors[one] - parts[one])
    for one in by_rest[: max(0, left)]:
        floors[one] += 1
    for one in sorted(range(len(parts)), key=lambda one: -floors[one]):
        while left < 0 and floors[one] > 1:
            floors[one] -= 1
            left += 1
    return floors
