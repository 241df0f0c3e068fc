"""How far schedules have come: kept with the queue, so that a tick and its call are one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from hilbert.core.ports.queue import NO_BOUNDS, Bounds, QueuedCall
from hilbert.core.values import FunctionRef, NamespaceName


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How far one schedule of a function has come."""

    ref: FunctionRef
    index: int
    """Its place among the function's schedules, from 0."""
    version: int = 1
    """One more with every change."""
    rule: str
    """The expression and its time zone, as they were when it came this far."""
    tick: float
    """Unix seconds up to which every tick has been dealt with."""
    call: str = ""
    """Id of the last call that it queued."""
    waiting: float = 0.0
    """A tick whose call waits until the last one has ended; 0: none."""
    paused: bool = False
    """By a command; an annotation can do the same."""


class Marks(Protocol):
    """Keeps marks. The same promises and errors as `Queue`.

    `Queue.cancel_function`, which happens when a function is removed, forgets the function's marks in the same step;
    `forget_namespace` forgets a namespace's.
    """

    async def marks(self, namespace: NamespaceName | None = None) -> Sequence[Mark]:
        """Those of a namespace, or all, by namespace, function and index."""
        ...

    async def advance(
        self, mark: Mark, call: QueuedCall | None = None, *, now: float, bounds: Bounds = NO_BOUNDS
    ) -> bool:
        """Replace the mark whose version is one less (for version 1: make it) and accept the call, in one step.

        False, and nothing changed, when the mark has another version by now: somebody else was first. Raises as
        `Queue.put`; a call whose key is known is not accepted again, but the mark is replaced.
        """
        ...

    async def forget_marks(self, ref: FunctionRef, *, start: int = 0) -> None:
        """Forget a function's marks from the index `start` on. Absence is success."""
        ...
