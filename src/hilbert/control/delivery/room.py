"""How much a namespace and a function may queue, and what share of the slots the namespace has: settings and annotations.

On a namespace, the annotations replace the settings; only who governs it can set them. On a function they can only lower
what its namespace has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hilbert.core.errors import HilbertError, Invalid, InvalidSpec, RateLimited
from hilbert.core.ports import Namespaces, Provider, spec_of
from hilbert.core.ports.queue import QueueBounds
from hilbert.core.values import FunctionRef, Quantity, parse_whole

ANNOTATION_CALLS: Final = "com.hilbert.queue.calls"
"""Calls that may wait, run or be dead letters."""
ANNOTATION_BYTES: Final = "com.hilbert.queue.bytes"
"""Bytes of their requests, and of answers that are kept."""
ANNOTATION_RATE: Final = "com.hilbert.queue.rate"
"""Calls that may be queued a second, on average; ten seconds' worth may come together."""
ANNOTATION_CONCURRENCY: Final = "com.hilbert.queue.concurrency"
"""Queued calls that run at once."""
ANNOTATION_WEIGHT: Final = "com.hilbert.queue.weight"
"""On a namespace: its share of the slots while others want them, too; 1 without it."""

_BURST: Final = 10.0
"""Seconds whose calls may come together."""
_MOST: Final = 1_000_000_000
_MOST_SCOPES: Final = 100_000


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What goes for the queued calls of one function."""

    bounds: QueueBounds = QueueBounds()
    rate: float = 0.0
    """Calls a second, of the function; 0: no limit."""
    namespace_rate: float = 0.0
    concurrency: int = _MOST
    """Of the function."""
    namespace_concurrency: int = _MOST
    weight: float = 1.0


class _Said(msgspec.Struct, frozen=True):
    """What one set of annotations says; None: nothing."""

    calls: int | None = None
    size: int | None = None
    rate: float | None = None
    concurrency: int | None = None
    weight: float | None = None


def room_of(
    function: Mapping[str, str], namespace: Mapping[str, str], default: QueueBounds | None = None
) -> tuple[Room, list[str]]:
    """From a function's annotations and its namespace's. What is wrong has no effect; the list says what it is."""
    default = default or QueueBounds()
    own, wrong = _read(function)
    below, wrong_below = _read(namespace)
    calls = below.calls if below.calls is not None else default.namespace_calls
    size = below.size if below.size is not None else default.namespace_bytes
    room = Room(
        bounds=msgspec.structs.replace(
            default,
            namespace_calls=calls,
            namespace_bytes=size,
            function_calls=min(calls, own.calls if own.calls is not None else default.function_calls),
            function_bytes=min(size, own.size if own.size is not None else default.function_bytes),
        ),
        rate=own.rate or 0.0,
        namespace_rate=below.rate or 0.0,
        concurrency=own.concurrency or _MOST,
        namespace_concurrency=below.concurrency or _MOST,
        weight=below.weight or 1.0,
    )
    return room, [*wrong, *wrong_below]


def check_namespace_room(annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for a namespace's annotation that nobody can understand, naming it."""
    _, wrong = _read(annotations)
    if wrong:
        raise InvalidSpec(wrong[0])


class Rooms:
    """Finds the room of functions that are there."""

    def __init__(self, provider: Provider, default: QueueBounds | None = None) -> None:
        self._spec_of = spec_of(provider)
        self._spaces = provider if isinstance(provider, Namespaces) else None
        self._default = default or QueueBounds()

    async def of(self, ref: FunctionRef) -> Room:
        """Raises `FunctionNotFound`, `NamespaceNotFound` and `BackendUnavailable`."""
        return self.room(*await self.annotations(ref))

    async def annotations(self, ref: FunctionRef) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Of a function, and of its namespace. Raises as `of`."""
        own = (await self._spec_of(ref)).annotations
        return own, (await self._spaces.get_namespace(ref.namespace)).annotations if self._spaces else {}

    def room(self, function: Mapping[str, str], namespace: Mapping[str, str]) -> Room:
        """By the annotations of a function and its namespace."""
        return room_of(function, namespace, self._default)[0]


class Rates:
    """How fast calls are queued, by scope: one number for each (GCRA), until when what came is spread over time."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def take(self, ref: FunctionRef, room: Room, count: int, now: float) -> None:
        """Note `count` calls that are to be queued. Raises `RateLimited`, and then notes nothing.

        Several at once are let in whole, and then waited for: so that a batch larger than the burst is not refused for ever.
        """
        scopes = [
            (what, rate)
            for what, rate in ((f"namespace {ref.namespace}", room.namespace_rate), (f"function {ref}", room.rate))
            if rate
        ]
        for what, rate in scopes:
            wait = self._due.get(what, 0.0) - now - _BURST
            if wait > 0:
                raise RateLimited(
                    f"{what} may queue {rate:g} calls a second (annotation {ANNOTATION_RATE})",
                    hint="try again later, or ask whoever governs the namespace for a higher rate",
                    retry_after=max(1.0, wait),
                )
        for what, rate in scopes:
            self._due[what] = max(self._due.get(what, 0.0), now) + count / rate
        if len(self._due) > _MOST_SCOPES:
            self._due = {what: due for what, due in self._due.items() if due > now}


def _read(annotations: Mapping[str, str]) -> tuple[_Said, list[str]]:
    values: dict[str, Any] = {}
    wrong: list[str] = []
    readers: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        (ANNOTATION_CALLS, "calls", lambda text: parse_whole(text, most=_MOST)),
        (ANNOTATION_BYTES, "size", lambda text: Quantity.parse(text).units),
        (ANNOTATION_RATE, "rate", _rate),
        (ANNOTATION_CONCURRENCY, "concurrency", lambda text: parse_whole(text, least=1, most=_MOST)),
        (ANNOTATION_WEIGHT, "weight", _weight),
    )
    for key, name, read in readers:
        if key in annotations:
            try:
                values[name] = read(annotations[key].strip())
            except HilbertError as exc:
                wrong.append(f"annotation {key}: {exc.message}")
    return _Said(**values), wrong


def _rate(text: str) -> float:
    return _number(text, 0.001, 1_000_000.0)


def _weight(text: str) -> float:
    return _number(text, 0.01, 100.0)


def _number(text: str, least: float, most: float) -> float:
    try:
        number = float(text) if len(text) <= 20 else -1.0
    except ValueError:
        number = -1.0
    if not least <= number <= most:  # Also for what is not a number.
        raise Invalid(f"must be a number from {least:g} to {most:g}")
    return number
