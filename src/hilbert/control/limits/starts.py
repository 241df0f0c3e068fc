"""How many functions of a namespace may be started from zero at once. Those beyond wait for their turn, and so do their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hilbert.core.model import EndpointSet
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import Clock, RealClock

_MOST: Final = 120.0
"""Seconds after which a start that has come to nothing gives its place back."""


class Starts:
    """Of one gateway. A start ends when the function can be called, is known not to start, or is gone."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or RealClock()
        self._limits: dict[NamespaceName, int] = {}
        self._open: dict[NamespaceName, dict[FunctionRef, float]] = {}
        """When each began."""
        self._waiting: dict[NamespaceName, dict[FunctionRef, None]] = {}
        """In the order in which they came."""
        self._delayed: dict[NamespaceName, int] = {}
        self.on_turn: Callable[[FunctionRef], None] = lambda _ref: None
        """Called with a function that had to wait and may start now."""

    def limit(self, namespace: NamespaceName, most: int) -> None:
        """What the namespace's annotation says; 0 is no limit."""
        if most:
            self._limits[namespace] = most
        else:
            self._limits.pop(namespace, None)
        self._next(namespace)

    def may_begin(self, ref: FunctionRef) -> bool:
        """Take a place for a start, or a place in the line."""
        most = self._limits.get(ref.namespace, 0)
        if not most:
            return True
        now = self._clock.now()
        begun = self._open.setdefault(ref.namespace, {})
        for late in [one for one, since in begun.items() if now - since >= _MOST]:
            del begun[late]
        if ref in begun:
            return True
        waiting = self._waiting.setdefault(ref.namespace, {})
        if len(begun) < most:
            begun[ref] = now
            waiting.pop(ref, None)
            return True
        if ref not in waiting:
            waiting[ref] = None
            self._delayed[ref.namespace] = self._delayed.get(ref.namespace, 0) + 1
        return False

    def seen(self, change: EndpointSet) -> None:
        """A function has changed."""
        begun = self._open.get(change.ref.namespace)
        if change.spec is None:
            self._waiting.get(change.ref.namespace, {}).pop(change.ref, None)
        if begun and change.ref in begun and (change.spec is None or change.endpoints or change.fault is not None):
            del begun[change.ref]
            self._next(change.ref.namespace)

    def used(self, namespace: NamespaceName) -> tuple[int, int]:
        """Starts under way, and how many have had to wait so far."""
        return len(self._open.get(namespace, ())), self._delayed.get(namespace, 0)

    def _next(self, namespace: NamespaceName) -> None:
        """Whoever has waited longest may ask again."""
        most = self._limits.get(namespace, 0)
        begun, waiting = self._open.get(namespace, {}), self._waiting.get(namespace, {})
        free = len(waiting) if not most else most - len(begun)
        for ref in list(waiting)[: max(0, free)]:
            del waiting[ref]
            self.on_turn(ref)
        for kept in (self._open, self._waiting):
            if not kept.get(namespace):
                kept.pop(namespace, None)
