"""What to do next for one function: a pure function of what is wanted and what is there.

The roll-out rule: replicas of the current revision are started beside the old ones (a surge of a quarter, at least one),
and an old one goes only when a current one is ready in its place. So a revision that never becomes ready never replaces
the one before it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from hilbert.core.isolation import Promise, render_promises
from hilbert.core.network import NetworkUse


class Revision(NamedTuple):
    """What a replica is started from: the generation, and what the namespace imposes."""

    generation: int
    network: NetworkUse
    required: frozenset[Promise] = frozenset()
    """What had to be promised."""

    def __str__(self) -> str:
        return f"{self.generation}/{self.network}/{render_promises(self.required)}"

    @classmethod
    def parse(cls, text: str) -> Revision:
        """The inverse of `str`. Promises that this version does not know count as not given. Raises `ValueError`."""
        generation, _, rest = text.partition("/")
        network, _, words = rest.rpartition("/")
        known = frozenset(Promise(word) for word in words.split(",") if word in set(Promise))
        return cls(int(generation), NetworkUse.parse(network), known)

    def allowed_by(self, wanted: Revision) -> bool:
        """Whether a replica of this revision keeps to what `wanted` imposes."""
        return self.network.within(wanted.network) and self.required >= wanted.required

    def is_current(self, wanted: Revision) -> bool:
        return self.generation == wanted.generation and self.network == wanted.network and self.allowed_by(wanted)


class Stage(enum.StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    """The runtime is starting it."""
    BOOTING = "booting"
    """It runs and is not ready yet."""
    READY = "ready"
    UNHEALTHY = "unhealthy"
    """It was ready and stopped answering."""
    COOLING = "cooling"
    """Out of the routes, to be frozen once it has no calls."""
    FROZEN = "frozen"
    """Held where it is, until a call comes or its time is up."""
    DRAINING = "draining"
    """Out of the routes; told to stop after the drain delay."""
    STOPPING = "stopping"


_ASLEEP: Final = (Stage.COOLING, Stage.FROZEN)


class View(NamedTuple):
    """One replica, as far as the decision needs it. Given in the order of their starts."""

    replica: str
    stage: Stage
    revision: Revision | None
    """None: it belongs to a function that is gone."""
    calls: int = 0
    """That it has under way, as far as is known."""


class Decision(msgspec.Struct, frozen=True):
    start: int = 0
    """How many replicas of the wanted revision to start."""
    drain: tuple[str, ...] = ()
    """Replicas to take out of the routes and then to stop."""
    retire: tuple[str, ...] = ()
    """The same for those that only the lower count makes too many: nothing is wrong with them, so they first finish the
    calls that they have."""
    freeze: tuple[str, ...] = ()
    """Replicas to take out of the routes and then to freeze."""
    thaw: tuple[str, ...] = ()


def decide(replicas: int, wanted: Revision | None, views: Sequence[View], *, frozen: int = 0) -> Decision:
    """`replicas` of `wanted` are desired; None: the function is gone. At none, up to `frozen` are kept frozen.

    A replica that is still being started is left alone until it runs: then it can be stopped.
    """
    drain: list[str] = []
    current: list[View] = []
    old: list[View] = []
    asleep: list[View] = []
    for view in views:
        if view.stage in (Stage.DRAINING, Stage.STOPPING):
            continue
        if view.stage is Stage.STARTING:
            if view.revision is not None:  # Takes a place, of whatever revision, so that starts stay bounded.
                current.append(view)
        elif wanted is None or view.revision is None or view.stage is Stage.UNHEALTHY:
            drain.append(view.replica)
        elif view.stage in _ASLEEP:
            if view.revision.is_current(wanted):
                asleep.append(view)
            else:
                drain.append(view.replica)
        elif view.revision.is_current(wanted):
            current.append(view)
        elif view.stage is Stage.READY and view.revision.allowed_by(wanted):
            old.append(view)
        else:
            drain.append(view.replica)
    if wanted is None:
        return Decision(drain=tuple(drain))
    kept = asleep[: frozen if replicas == 0 else max(0, replicas - len(current))]
    drain += [view.replica for view in asleep if view not in kept]
    thaw = _names(kept) if replicas else ()
    ready = sum(view.stage is Stage.READY for view in current)  # What is thawed serves when it is back in the routes.
    current = [*(view._replace(stage=Stage.READY) for view in kept if replicas), *current]
    drain += [view.replica for view in old[max(0, replicas - ready) :]]
    old = old[: max(0, replicas - ready)]
    excess = len(current) - replicas
    if excess > 0:
        # Those that serve nothing go first, then those with the fewest calls, then the youngest.
        by_worth = current[::-1]
        by_worth.sort(key=lambda view: (view.stage is Stage.READY, view.calls))
        going = [view for view in by_worth[:excess] if view.stage is not Stage.STARTING]
        room = frozen - len(kept) if replicas == 0 else 0
        freeze = [view for view in going if view.stage is Stage.READY][:room]
        retire = [view for view in going if view not in freeze]
        return Decision(drain=tuple(drain), retire=_names(retire), freeze=_names(freeze))
    surge = max(1, -(-replicas // 4))
    start = min(replicas - len(current), replicas + surge - len(current) - len(old))
    return Decision(start=max(0, start), drain=tuple(drain), thaw=thaw)


def _names(views: Sequence[View]) -> tuple[str, ...]:
    return tuple(view.replica for view in views)
