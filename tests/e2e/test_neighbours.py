"""A tenant floods; another's calls, starts and API reads are answered all the same, and the platform's memory stays bounded.

The short form of `make bench ONLY=neighbours`, which measures. Nothing here asserts a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.neighbours import Neighbours
from support.platform import running

SECONDS = 3.0
RATE = 10.0
MOST = 400 << 20
"""Resident bytes of any process of the platform's own."""


@pytest.fixture(scope="module")
def neighbours() -> Iterator[Neighbours]:
    with running("gateway.workers=2", "log.level=warning", "provider.grace=1s") as platform:
        yield Neighbours(platform, limits=False, cold=10, spinning=4)


@pytest.mark.parametrize(
    "kinds",
    [
        ("sync calls", "queued calls", "deploys and deletes", "API reads"),
        ("log lines", "spinning", "memory", "fork bombs"),
        ("connections", "cold starts", "large bodies"),
    ],
    ids=("requests", "machine", "holding"),
)
def test_neighbours_are_answered(neighbours: Neighbours, kinds: tuple[str, ...]) -> None:
    with neighbours.flood(kinds) as told:
        seen = neighbours.watch(SECONDS, rate=RATE)
    assert not seen.errors, seen.errors[:5]
    assert all(seen.times.values()), "each kind of request was made"
    assert told.keys() == set(kinds)
    used = neighbours.memory()
    assert all(0 < size < MOST for size in used.values()), used
