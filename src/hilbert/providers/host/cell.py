"""What the host provider knows of one function at this moment: its record, its replicas, its failures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from hilbert.core.errors import Invalid
from hilbert.core.last_words import exception_in
from hilbert.core.model import Endpoint, StartFault, Usage
from hilbert.core.ports import Handle
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import Duration, FunctionRef
from hilbert.kit.pace import Pace
from hilbert.providers.host.decide import Revision, Stage, View
from hilbert.providers.host.record import FunctionRecord, ReplicaRecord

STEADY: Final = 10.0
"""Seconds that a replica must have been ready for its crash to count as the first one again."""

_WORTH_WAITING: Final = 1.0
"""Seconds until the next start for which calls of a function that was ready before wait rather than fail."""

_GRACE_MOST: Final = Duration.of(3600)
"""Most that a function's `write_timeout` can raise its grace to."""
_RESTART: Final = Pace(first=0.25, most=30.0)


class Replica:
    """One replica's life. Changed only by the reconciler."""

    def __init__(self, record: ReplicaRecord, *, stage: Stage, now: float, taken_back: bool = False) -> None:
        """`taken_back`: an earlier run has started it, and it may have been ready then."""
        self.handle: Handle = record.handle
        self.uid = record.uid
        self.revision = Revision.parse(record.revision)
        self.grace: Duration = record.grace
        self.stage = stage
        self.started_at = now
        self.ready_at: float | None = None
        self.taken_back = taken_back
        self.unready = ""
        """Why it is not ready yet, if that is known."""
        self.stop_at = 0.0
        """When to stop it, to freeze it while it is cooling, or to give up one that is frozen."""
        self.patient_until = 0.0
        """Until when its calls under way keep it from being stopped."""
        self.stop_failures = 0
        self.endpoint: Endpoint | None = None
        self.placement: Mapping[str, str] = {}
        self.settled = asyncio.Event()
        """Set once it is known how the start went."""

    @property
    def name(self) -> str:
        return self.handle.replica

    def record(self) -> ReplicaRecord:
        return ReplicaRecord(handle=self.handle, uid=self.uid, revision=str(self.revision), grace=self.grace)


class Cell:
    """One function by name: the incarnation that is promised, and replicas of it and of those before it."""

    def __init__(self, ref: FunctionRef) -> None:
        self.ref = ref
        self.record: FunctionRecord | None = None
        self.replicas: dict[str, Replica] = {}
        self.failures = 0
        self.failed_at = 0.0
        self.retry_at = 0.0
        self.reason = ""
        self.message = ""
        self.fault: StartFault | None = None
        """Why no replica comes up, once that is known."""
        self.published: tuple[Endpoint, ...] = ()
        self.published_fault: StartFault | None = None
        self.ready_generation = 0
        self.usage: Usage | None = None
        self.usage_at = 0.0

    def views(self, busy: Mapping[str, int] | None = None) -> list[View]:
        """`busy`: calls under way by a replica's address."""
        uid = None if self.record is None else self.record.uid
        return [
            View(
                replica.name,
                replica.stage,
                replica.revision if replica.uid == uid else None,
                busy.get(replica.endpoint.address, 0) if busy and replica.endpoint is not None else 0,
            )
            for replica in self.replicas.values()
        ]

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Of the replicas that can be called."""
        if self.record is None:
            return ()
        return tuple(
            replica.endpoint
            for replica in self.replicas.values()
            if replica.stage is Stage.READY and replica.uid == self.record.uid and replica.endpoint is not None
        )

    def frozen(self) -> int:
        """How many replicas keep their memory for the next call."""
        return sum(replica.stage is Stage.FROZEN for replica in self.replicas.values())

    def refusal(self) -> StartFault | None:
        """Why calls are to be refused now. None: one answers, or may soon."""
        if self.record is None or self.record.replicas == 0 or self.endpoints():
            return None
        return self.fault

    def fail(self, replica: Replica, reason: str, message: str, *, said: str = "", told: str = "", now: float) -> None:
        """Note a failure of the current revision and put off the next start.

        `said` is the function's own word on it; `told` takes the place of `message` for those who may only call it.

        Replicas that were started before the last failure belong to the same wave and do not lengthen the delay.
        """
        self.reason, self.message = reason, f"{message}: {said}" if said else message
        if not self.failures or replica.started_at >= self.failed_at:
            if replica.ready_at is not None and now - replica.ready_at >= STEADY:
                self.failures = 0
            self.failures += 1
            self.failed_at = now
            self.retry_at = now + backoff(self.failures)
        never_ready = replica.ready_at is None and not replica.taken_back
        if never_ready or self.retry_at - now >= _WORTH_WAITING:
            name = exception_in(said)
            self.fault = StartFault(reason, told or (f"{message} ({name})" if name else message))

    def succeed(self, *, now: float) -> None:
        """The current revision has all its replicas ready: forget failures once that has lasted.

        A single one is not mentioned any more at once, but still counts.
        """
        if now - self.failed_at >= STEADY:
            self.reset()
        elif self.failures <= 1:
            self.reason = self.message = ""

    def reset(self) -> None:
        """Forget failures."""
        self.failures = 0
        self.retry_at = 0.0
        self.reason = self.message = ""
        self.fault = None


def backoff(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row: none, then 0.25 s doubling to 30 s."""
    return _RESTART.delay(failures - 1)


def grace_of(record: FunctionRecord, settings: ProviderSettings) -> Duration:
    """The platform's grace, or the function's own `write_timeout` if that is longer."""
    try:
        own = Duration.parse(record.spec.env.get("write_timeout", "0"), bare_seconds=True)
    except Invalid:
        own = Duration(0)
    return max(settings.grace, min(own, _GRACE_MOST))
