"""A worker's route table: raw path segment -> route state, one dictionary look-up.

A route's state outlives changes of the route: counters, waiting calls, and replicas that stay keep what they had.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final, Protocol
from weakref import WeakValueDictionary

from hilbert.core.limits import CallLimits, Scope, ScopeShare, ScopeUse
from hilbert.core.model import CallPolicy, Endpoint, Route, StartFault
from hilbert.dataplane.counters import RouteCounters
from hilbert.dataplane.failures import Failure
from hilbert.dataplane.feed.messages import Entry, route_digest
from hilbert.dataplane.gates import Gate
from hilbert.kit.http1 import Pool

_POLICIES: Final = 1024
_TRY_SOON: Final = 0.05
"""Seconds before a replica that has begun to refuse connections gets another call."""
_TRY_LATER: Final = 0.5
"""The same, once it has refused twice and more."""


class Replica:
    """One endpoint as this worker sees it."""

    __slots__ = ("endpoint", "host", "inflight", "pool", "refusing", "try_at")

    def __init__(self, endpoint: Endpoint, pool: Pool) -> None:
        self.endpoint = endpoint
        self.host = b""
        """The Host that it is called by, once it was: on a large platform most functions are idle, and need no memory for it."""
        self.pool = pool
        self.inflight = 0
        self.refusing = False
        """It did not take the last connection."""
        self.try_at = 0.0
        """While it refuses: when the next call may try it. One call at a time does."""

    def refuse(self, now: float) -> None:
        """It did not take a connection: leave it alone for a while."""
        self.try_at = now + (_TRY_LATER if self.refusing else _TRY_SOON)
        self.refusing = True

    def accept(self) -> None:
        """It took a connection."""
        self.refusing = False

    def may_take(self, now: float, most: int) -> bool:
        """Whether it has room for a call, and is worth one."""
        return (not most or self.inflight < most) and (not self.refusing or self.try_at <= now)


class Waiter(Protocol):
    """A call that may wait for a replica."""

    state: RouteState
    gates: tuple[Gate, ...]

    @property
    def held(self) -> int:
        """Bytes of its body that it keeps. They are no more while it waits."""
        ...

    def wait(self) -> None:
        """It waits from now on, and sees to its own deadline."""
        ...

    def dispatch(self, now: float) -> bool:
        """Send it to a replica, at `now` of the monotonic clock. False: there is none with room."""
        ...

    def fail(self, failure: Failure) -> None:
        """Answer it with an error."""
        ...


class RouteState:
    """One function: its replicas, the calls that wait for one, its counters."""

    __slots__ = (
        "born",
        "counters",
        "digest",
        "fault",
        "gates",
        "guarded",
        "leaving",
        "name",
        "namespace",
        "open",
        "policy",
        "replicas",
        "retry_due",
        "scheduled",
        "waiting",
        "weight",
        "woken_at",
    )

    def __init__(self, namespace: str, name: str, born: int, note: Callable[[RouteState], None]) -> None:
        self.namespace = namespace
        self.name = name
        self.born = born
        self.policy = CallPolicy()
        self.open = False
        self.weight = 1.0
        """Its namespace's share against others' when there are too many calls."""
        self.guarded = False
        """Callers must prove that they may call it."""
        self.scheduled = False
        """The gateway calls it at set times, and no cron-connector."""
        self.fault: StartFault | None = None
        """It has no replica and is known not to start."""
        self.gates: tuple[Gate, ...] = ()
        """Limits that its calls have to pass; few functions have any."""
        self.replicas: list[Replica] = []
        self.leaving: tuple[Replica, ...] = ()
        """Taken out of the route while they had calls under way, which go on."""
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()
        """In order of arrival; `WaitingRoom` keeps it."""
        self.counters = RouteCounters(note, self)
        self.digest = 0
        self.woken_at = 0.0
        self.retry_due = False
        """A timer runs for `next_try`."""

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"

    def choose(self, now: float, avoid: Replica | None = None) -> Replica | None:
        """The less busy of two replicas picked at random, with room for one more call. None: wait."""
        replicas = self.replicas
        most = self.policy.max_inflight
        count = len(replicas)
        if count > 1:
            one = int(random.random() * count)  # noqa: S311 - spreading load needs no secrecy
            other = one - 1 - int(random.random() * (count - 1))  # noqa: S311 - never the same: it counts back, round the end
            first, second = replicas[one], replicas[other]
            best = second if second.inflight < first.inflight else first
            if best is avoid or not best.may_take(now, most):
                free = [replica for replica in replicas if replica.may_take(now, most)]
                if not free:
                    return None
                best = min(free, key=lambda replica: (replica is avoid, replica.refusing, replica.inflight))
        elif count:
            best = replicas[0]
            if (best.refusing or most) and not best.may_take(now, most):
                return None
        else:
            return None
        if best.refusing:
            best.try_at = now + _TRY_LATER  # Nobody else until it is known how this one fares.
        return best

    def busy(self) -> dict[str, int]:
        """Calls under way by the address of the replica that has them, replicas that are leaving included."""
        if self.leaving:
            self.leaving = tuple(replica for replica in self.leaving if replica.inflight)
        found: dict[str, int] = {}
        for replica in (*self.replicas, *self.leaving):
            if replica.inflight:
                address = replica.endpoint.address
                found[address] = found.get(address, 0) + replica.inflight
        return found

    def next_try(self) -> float:
        """When a replica that refuses may be tried again; 0 if none refuses."""
        return min((replica.try_at for replica in self.replicas if replica.refusing), default=0.0)


class Table:
    """All routes. `version` and `digest` tell whether it is what the control process has."""

    def __init__(self, default_namespace: str, make_pool: Callable[[str], Pool], *, workers: int = 1) -> None:
        """`workers` is how many divide the limits until they are told their parts."""
        self._default = default_namespace
        self._workers = workers
        self._gates: WeakValueDictionary[Scope, Gate] = WeakValueDictionary()
        """Kept by the routes that they belong to, and by calls under way."""
        self._used: list[Gate] = []
        self._make_pool = make_pool
        self._states: dict[tuple[str, str], RouteState] = {}
        self.by_segment: dict[bytes, RouteState] = {}
        """`NAME.NAMESPACE`, and `NAME` for the default namespace, as they stand in a path."""
        self._policies: dict[CallPolicy, CallPolicy] = {}
        """One object for each policy: most functions share a few."""
        self._noted = self._note
        self._changed: list[RouteState] = []
        self.on_changed: Callable[[], None] = lambda: None
        """Called when a counter changes and none had since `take_changed`."""
        self.complete = False
        """Whether a whole table has been received once."""
        self.epoch = ""
        self.version = 0
        self.digest = 0

    def __len__(self) -> int:
        return len(self._states)

    def states(self) -> Iterable[RouteState]:
        return self._states.values()

    def take_changed(self) -> list[RouteState]:
        """Routes whose counters have changed since this was last asked."""
        changed, self._changed = self._changed, []
        return changed

    def _note(self, state: RouteState) -> None:
        self._changed.append(state)
        if len(self._changed) == 1:
            self.on_changed()

    def take_used(self) -> list[ScopeUse]:
        """Limits whose use has changed since this was last asked."""
        used = [gate.report() for gate in self._used]
        self._used.clear()
        return used

    def demand(self) -> dict[str, tuple[int, float]]:
        """Calls under way and weight, by namespace, where there are any."""
        found: dict[str, tuple[int, float]] = {}
        for state in self._states.values():
            if state.counters.inflight:
                before = found.get(state.namespace, (0, 0.0))[0]
                found[state.namespace] = before + state.counters.inflight, state.weight
        return found

    def gate_of(self, namespace: str) -> tuple[Gate, ...]:
        """The limits of a namespace as a whole, if it has any."""
        gate = self._gates.get((namespace, ""))
        return () if gate is None else (gate,)

    def share(self, shares: Iterable[ScopeShare]) -> None:
        """This worker's parts of limits."""
        for share in shares:
            gate = self._gates.get(share.scope)
            if gate is not None:
                gate.take(share.rate, share.places, monotonic())

    def replace(self, entries: Iterable[Entry], *, epoch: str, version: int) -> list[RouteState]:
        """Take a snapshot. Returns the states that are gone; their waiting calls must be told."""
        wanted = {entry.route.key: entry for entry in entries}
        gone = [state for key in [key for key in self._states if key not in wanted] if (state := self.drop(key))]
        if epoch != self.epoch:
            # Another control process counts births anew; what it knows by name is what it was.
            for key, state in self._states.items():
                state.born = wanted[key].born
        for entry in wanted.values():
            gone += self.put(entry)[1]
        self.epoch, self.version, self.complete = epoch, version, True
        return gone

    def put(self, entry: Entry) -> tuple[RouteState, list[RouteState]]:
        """Add or change one route. Its waiting calls may find a replica now.

        Returns its state, and the state of another function of the same name that it replaces.
        """
        route = entry.route
        state = self._states.get(route.key)
        gone: list[RouteState] = []
        if state is not None and state.born != entry.born:
            self.drop(route.key)
            gone, state = [state], None
        if state is None:
            state = self._states[route.key] = RouteState(route.namespace, route.name, entry.born, self._noted)
            for segment in self._segments(route.key):
                self.by_segment[segment] = state
        digest = route_digest(route)
        self.digest ^= state.digest ^ digest
        state.digest = digest
        state.open = route.open
        state.guarded = route.guarded
        state.weight = route.weight
        state.scheduled = route.scheduled
        state.fault = route.fault if not route.endpoints else None
        state.gates = self._gates_of(route)
        if len(self._policies) > _POLICIES:
            self._policies.clear()
        state.policy = self._policies.setdefault(route.policy, route.policy)
        known = {replica.endpoint: replica for replica in state.replicas}
        state.replicas = [
            known.pop(endpoint) if endpoint in known else Replica(endpoint, self._make_pool(endpoint.address))
            for endpoint in route.endpoints
        ]
        for replica in known.values():
            replica.pool.close()
        if known:
            state.leaving += tuple(replica for replica in known.values() if replica.inflight)
        if state.replicas:
            state.woken_at = 0.0  # The wake-up has been heard; the next one need not wait its turn.
        return state, gone

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

    def full_name(self, name: str) -> str:
        """`NAME.NAMESPACE`, also of a function that is not there."""
        return name if "." in name else f"{name}.{self._default}"

    def close(self) -> None:
        """Close every idle connection to replicas."""
        for state in self._states.values():
            for replica in state.replicas:
                replica.pool.close()

    def _gates_of(self, route: Route) -> tuple[Gate, ...]:
        if route.limits is None and route.namespace_limits is None:
            return ()
        given = ((route.namespace, route.name), route.limits), ((route.namespace, ""), route.namespace_limits)
        return tuple(self._gate(scope, limits) for scope, limits in given if limits is not None)

    def _gate(self, scope: Scope, limits: CallLimits) -> Gate:
        gate = self._gates.get(scope)
        if gate is None:
            gate = self._gates[scope] = Gate(scope, limits, self._used, workers=self._workers, now=monotonic())
        else:
            gate.change(limits, workers=self._workers, now=monotonic())
        return gate

    def _segments(self, key: tuple[str, str]) -> list[bytes]:
        namespace, name = key
        full = [f"{name}.{namespace}".encode()]
        return [*full, name.encode()] if namespace == self._default else full
