"""A worker's route table: raw path segment -> route state, one dictionary look-up.

A route's state outlives changes of the route: counters, waiting calls, and replicas that stay keep what they had.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from hilbert.core.model import CallPolicy, Endpoint, Route
from hilbert.dataplane.counters import RouteCounters
from hilbert.dataplane.messages import route_digest
from hilbert.kit.http1 import Pool

if TYPE_CHECKING:
    from hilbert.dataplane.call import FunctionCall

_DOWN_FOR: Final = 1.0
"""Seconds that a replica which refused a connection is passed over, if there is another."""


class Replica:
    """One endpoint as this worker sees it."""

    __slots__ = ("down_until", "endpoint", "inflight", "pool")

    def __init__(self, endpoint: Endpoint, pool: Pool) -> None:
        self.endpoint = endpoint
        self.pool = pool
        self.inflight = 0
        self.down_until = 0.0

    def refuse(self, now: float) -> None:
        """It did not take a connection: leave it alone for a while."""
        self.down_until = now + _DOWN_FOR


class RouteState:
    """One function: its replicas, the calls that wait for one, its counters."""

    __slots__ = ("counters", "digest", "name", "namespace", "policy", "replicas", "waiting", "woken_at")

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name
        self.policy = CallPolicy()
        self.replicas: list[Replica] = []
        self.waiting: deque[FunctionCall] = deque()
        self.counters = RouteCounters()
        self.digest = 0
        self.woken_at = 0.0

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"

    def choose(self, now: float, *, avoid: Replica | None = None) -> Replica | None:
        """The less busy of two replicas picked at random, with room for one more call. None: wait."""
        replicas = self.replicas
        most = self.policy.max_inflight
        count = len(replicas)
        if count == 1:
            only = replicas[0]
            return only if not most or only.inflight < most else None
        if not count:
            return None
        first = replicas[random.randrange(count)]  # noqa: S311 - spreading load needs no secrecy
        second = replicas[random.randrange(count)]  # noqa: S311
        best = second if second.inflight < first.inflight else first
        if best is not avoid and best.down_until <= now and (not most or best.inflight < most):
            return best
        return self._search(now, most, avoid)

    def _search(self, now: float, most: int, avoid: Replica | None) -> Replica | None:
        """The least busy with room; those that are down or to be avoided only if there is no other."""
        free = [replica for replica in self.replicas if not most or replica.inflight < most]
        return min(
            free, key=lambda replica: (replica.down_until > now, replica is avoid, replica.inflight), default=None
        )


class Table:
    """All routes. `version` and `digest` tell whether it is what the control process has."""

    def __init__(self, default_namespace: str, make_pool: Callable[[str], Pool]) -> None:
        self._default = default_namespace
        self._make_pool = make_pool
        self._states: dict[tuple[str, str], RouteState] = {}
        self.by_segment: dict[bytes, RouteState] = {}
        """`NAME.NAMESPACE`, and `NAME` for the default namespace, as they stand in a path."""
        self.complete = False
        """Whether a whole table has been received once."""
        self.epoch = ""
        self.version = 0
        self.digest = 0

    def __len__(self) -> int:
        return len(self._states)

    def states(self) -> Iterable[RouteState]:
        return self._states.values()

    def replace(self, routes: Iterable[Route], *, epoch: str, version: int) -> list[RouteState]:
        """Take a snapshot. Returns the states that are gone; their waiting calls must be told."""
        wanted = {route.key: route for route in routes}
        gone = [state for key in [key for key in self._states if key not in wanted] if (state := self.drop(key))]
        for route in wanted.values():
            self.put(route)
        self.epoch, self.version, self.complete = epoch, version, True
        return gone

    def put(self, route: Route) -> RouteState:
        """Add or change one route. Its waiting calls may find a replica now."""
        state = self._states.get(route.key)
        if state is None:
            state = self._states[route.key] = RouteState(route.namespace, route.name)
            for segment in self._segments(route.key):
                self.by_segment[segment] = state
        digest = route_digest(route)
        self.digest ^= state.digest ^ digest
        state.digest = digest
        state.policy = route.policy
        known = {replica.endpoint: replica for replica in state.replicas}
        state.replicas = [
            known.pop(endpoint) if endpoint in known else Replica(endpoint, self._make_pool(endpoint.address))
            for endpoint in route.endpoints
        ]
        for replica in known.values():
            replica.pool.close()
        if state.replicas:
            state.woken_at = 0.0  # The wake-up has been heard; the next one need not wait its turn.
        return state

    def drop(self, key: tuple[str, str]) -> RouteState | None:
        """Remove one route; returns its state, or None if it was not there."""
        state = self._states.pop(key, None)
        if state is not None:
            for segment in self._segments(key):
                del self.by_segment[segment]
            self.digest ^= state.digest
            for replica in state.replicas:
                replica.pool.close()
            state.replicas = []
        return state

    def _segments(self, key: tuple[str, str]) -> list[bytes]:
        namespace, name = key
        full = [f"{name}.{namespace}".encode()]
        return [*full, name.encode()] if namespace == self._default else full
