"""Whose call is made next: start-time fair queuing, between namespaces first, then between their functions. Pure.

Each namespace has a tag: the virtual time at which its next call may begin. The one with the least tag goes first, and
its tag then grows by the estimated seconds of that call, divided by its weight. So a tenant with 100,000 slow calls gets
its share of slots and no more, one that comes back from idling is served at once but cannot save up, and slots that
nobody else wants go to whoever has work. (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996.)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hilbert.core.values import FunctionRef


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What one function has to do."""

    ref: FunctionRef
    ready: int
    """Calls that wait."""
    due: float
    """When the first of them is due, in Unix seconds."""
    running: int = 0
    limit: int = 1
    """Calls of this function that may run at once."""
    space_limit: int = 1_000_000_000
    """Calls of its namespace that may run at once."""
    cost: float = 1.0
    """Estimated seconds of a call; above 0."""
    weight: float = 1.0
    """Of its namespace; above 0."""


class Tags(msgspec.Struct, frozen=True):
    """What is remembered between two picks. Times are virtual."""

    clock: float = 0.0
    spaces: Mapping[str, float] = {}
    clocks: Mapping[str, float] = {}
    """By namespace: the clock of its functions."""
    functions: Mapping[FunctionRef, float] = {}


def pick(
    now: float, tags: Tags, work: Sequence[Work], *, slots: int, space_slots: int
) -> tuple[list[FunctionRef], Tags]:
    """The functions that get one of `slots` free slots each, in order, and the tags from then on.

    A function may be named several times. No namespace gets more than `space_slots` in all, with what runs already.
    """
    used: dict[str, int] = {}
    most: dict[str, int] = {}
    inner: dict[str, list[tuple[float, float, str, Work, int]]] = {}
    for item in work:
        space = item.ref.namespace
        used[space] = used.get(space, 0) + item.running
        most[space] = min(most.get(space, space_slots), item.space_limit)
        if item.ready > 0 and item.due <= now and item.running < item.limit:
            start = max(tags.clocks.get(space, 0.0), tags.functions.get(item.ref, 0.0))
            inner.setdefault(space, []).append((start, item.due, item.ref.name, item, 0))
    outer = []
    for name, heap in inner.items():
        heapq.heapify(heap)
        if used[name] < most[name]:
            outer.append((max(tags.clock, tags.spaces.get(name, 0.0)), min(entry[1] for entry in heap), name))
    heapq.heapify(outer)
    clock, spaces, clocks, functions = tags.clock, dict(tags.spaces), dict(tags.clocks), dict(tags.functions)
    chosen: list[FunctionRef] = []
    while outer and len(chosen) < slots:
        clock, due, chosen_space = heapq.heappop(outer)
        start, item_due, name, item, taken = heapq.heappop(inner[chosen_space])
        chosen.append(item.ref)
        spaces[chosen_space] = clock + item.cost / item.weight
        clocks[chosen_space], functions[item.ref] = start, start + item.cost
        taken += 1
        if taken < item.ready and item.running + taken < item.limit:
            heapq.heappush(inner[chosen_space], (functions[item.ref], item_due, name, item, taken))
        used[chosen_space] += 1
        if inner[chosen_space] and used[chosen_space] < most[chosen_space]:
            heapq.heappush(outer, (spaces[chosen_space], due, chosen_space))
    busy = {item.ref for item in work if item.ready or item.running}
    busy_spaces = {ref.namespace for ref in busy}
    return chosen, Tags(
        clock,
        {space: tag for space, tag in spaces.items() if space in busy_spaces or tag > clock},
        {space: tag for space, tag in clocks.items() if space in busy_spaces},
        {ref: tag for ref, tag in functions.items() if ref in busy},
    )


class Charge(msgspec.Struct, frozen=True):
    """What calls of a function took beyond what was estimated."""

    ref: FunctionRef
    seconds: float
    """Negative: they took less."""
    weight: float = 1.0
    """Of its namespace."""


def correct(tags: Tags, charges: Iterable[Charge]) -> Tags:
    """Charge what calls really took, once that is known."""
    spaces, functions = dict(tags.spaces), dict(tags.functions)
    for charge in charges:
        if charge.ref.namespace in spaces:
            spaces[charge.ref.namespace] += charge.seconds / charge.weight
        if charge.ref in functions:
            functions[charge.ref] += charge.seconds
    return Tags(tags.clock, spaces, tags.clocks, functions)
