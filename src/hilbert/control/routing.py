"""Keeps the route table in step with the provider."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final

import msgspec
import structlog

from hilbert.control.call_policy import is_guarded, usable_limits, usable_policy
from hilbert.control.schedules.rules import is_fired
from hilbert.core.limits import TenantLimits
from hilbert.core.model import ANNOTATION_INGRESS, EndpointSet, Route, StartFault, Synced
from hilbert.core.ports import Provider, RouteSink
from hilbert.core.settings import GatewaySettings
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import Clock, RealClock, cancel, spawn
from hilbert.kit.pace import Pace

PACE: Final = Pace(first=0.1, most=10.0)
REFUSED_FOR: Final = 2.0
"""Seconds for which calls are refused of a function that could not be woken: then the next one may try again."""

_log = structlog.get_logger("hilbert.routing")


class Routing:
    """Drives a `RouteSink` from `Provider.watch`: the whole table once all sets are known, then line by line.

    A watch that fails or ends is started again after a back-off. Until the new one has given every set, the sink keeps
    its last good table; then it gets the new one whole, so nothing that was missed in between can stay.
    """

    def __init__(
        self,
        provider: Provider,
        sink: RouteSink,
        settings: GatewaySettings,
        *,
        fires: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """`fires`: this installation fires schedules itself."""
        self._provider = provider
        self._sink = sink
        self._settings = settings
        self._fires = fires
        self._clock = clock or RealClock()
        self._task: asyncio.Task[None] | None = None
        self._table: dict[FunctionRef, Route] = {}
        self._synced = asyncio.Event()
        self._refusals: set[asyncio.Task[None]] = set()
        """One for each function that is refused now: no more than there are routes."""
        self.on_change: list[Callable[[EndpointSet], None]] = []
        """Called with each set that the provider gives, before the sink has it. Must not fail."""
        self.restarts = 0
        """Watches that failed and were started again."""

    def start(self) -> None:
        self._task = spawn(self.run(), name="routing")

    async def stop(self) -> None:
        """The sink keeps its table."""
        await cancel(self._task, *self._refusals)
        self._task = None

    async def wait_synced(self) -> None:
        """Until the sink has had its first whole table."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether the sink has had a whole table."""
        return self._synced.is_set()

    @property
    def table(self) -> Mapping[FunctionRef, Route]:
        """What the sink was last given."""
        return self._table

    def refuse(self, ref: FunctionRef, fault: StartFault) -> None:
        """Have calls of a function without endpoints refused for a moment, also those that wait; then it is tried again.

        Any news of it from the provider ends that.
        """
        route = self._table.get(ref)
        if route is None or route.endpoints or route.fault is not None:
            return
        refused = msgspec.structs.replace(route, fault=fault)
        self._put(ref, refused)
        task = spawn(self._allow(ref, refused, route), name="allow again")
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)

    async def _allow(self, ref: FunctionRef, refused: Route, route: Route) -> None:
        await self._clock.sleep(REFUSED_FOR)
        if self._table.get(ref) is refused:
            self._put(ref, route)

    def _put(self, ref: FunctionRef, route: Route) -> None:
        self._table[ref] = route
        self._sink.put(route)

    async def run(self) -> None:
        """For ever."""
        failures = 0
        while True:
            try:
                async with _closing(self._provider.watch()) as changes:
                    found: dict[FunctionRef, Route] | None = {}
                    async for change in changes:
                        if isinstance(change, Synced):
                            if found is not None:
                                self._replace(found)
                            found = None
                            failures = 0
                        elif found is not None:
                            self._collect(found, change)
                        else:
                            self._apply(change)
                _log.warning("watch ended", retry_in=PACE.delay(failures + 1))
            except Exception:  # noqa: BLE001 - the loop outlives whatever a provider raises
                _log.warning("watch failed", retry_in=PACE.delay(failures + 1), exc_info=True)
            self.restarts += 1
            failures += 1
            await self._clock.sleep(PACE.delay(failures))

    def _replace(self, found: dict[FunctionRef, Route]) -> None:
        self._table = found
        self._sink.reset(list(found.values()))
        self._synced.set()

    def _collect(self, found: dict[FunctionRef, Route], change: EndpointSet) -> None:
        route = self._route(change)
        if route is None:
            found.pop(change.ref, None)
        else:
            found[change.ref] = route

    def _apply(self, change: EndpointSet) -> None:
        route = self._route(change)
        if route is None:
            if self._table.pop(change.ref, None) is not None:
                self._sink.drop(change.ref)
        elif self._table.get(change.ref) != route:
            self._put(change.ref, route)

    def _route(self, change: EndpointSet) -> Route | None:
        for tell in self.on_change:
            tell(change)
        if change.spec is None:
            return None
        policy, wrong = usable_policy(change.spec, change.namespace_annotations, self._settings)
        if wrong:
            _log.warning("annotations ignored", function=str(change.ref), reason=wrong)
        open_to_all = change.namespace_annotations.get(ANNOTATION_INGRESS) == "all"
        return Route(
            change.ref.namespace,
            change.ref.name,
            change.endpoints,
            policy,
            limits=usable_limits(change.spec.annotations),
            namespace_limits=usable_limits(change.namespace_annotations),
            open=open_to_all,
            guarded=is_guarded(change.spec, change.namespace_annotations),
            fault=change.fault,
            weight=TenantLimits.usable(change.namespace_annotations).weight,
            scheduled=self._fires and is_fired(change.ref, change.spec.annotations, change.namespace_annotations),
        )


@contextlib.asynccontextmanager
async def _closing(changes: AsyncIterator[EndpointSet | Synced]) -> AsyncIterator[AsyncIterator[EndpointSet | Synced]]:
    """Close the iterator at the end, if it can be: the port asks for an iterator, most are generators."""
    try:
        yield changes
    finally:
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()
