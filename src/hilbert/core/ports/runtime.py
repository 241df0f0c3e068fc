"""What a single-host back end writes: how to start one replica, look at it and stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from hilbert.core.isolation import Promise
from hilbert.core.model import Endpoint, FunctionSpec
from hilbert.core.network import NetworkUse
from hilbert.core.values import Duration, FunctionRef


class ReplicaPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a runtime needs to start one replica."""

    replica: str
    """`NAME-` and random lower-case letters and digits; the `instance` of log lines."""
    spec: FunctionSpec
    generation: int
    secrets: Mapping[str, bytes]
    """The values of `spec.secrets`."""
    network: NetworkUse = NetworkUse()
    required: frozenset[Promise] = frozenset()
    """What must be promised of the replica; it is not started with less."""
    tenant: int = 0
    """The namespace's number, never used again once it is deleted: what a user id of its own is made from."""
    weight: float = 1.0
    """The namespace's share of the processors while others want them, too."""


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """How to find a replica again, also after a crash. Stored before each side effect."""

    replica: str
    ref: FunctionRef
    generation: int
    data: Mapping[str, str] = {}
    """The runtime's own: pid, start time, paths."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime saw of one replica."""

    replica: str
    state: str
    """`starting`, `ready`, `unhealthy` or `exited`."""
    endpoint: Endpoint | None = None
    """Given when `ready` or `unhealthy`."""
    reason: str = ""
    """A fixed CamelCase word, when not well."""
    message: str = ""
    """One public sentence for `reason`; for `exited`, with the status."""
    said: str = ""
    """Of an `exited` one: the line of its log that says most of why, cut short."""
    placement: Mapping[str, str] = {}


class Runtime(Protocol):
    """What a single-host back end writes. Stateless: a stored handle is enough to stop or adopt a replica."""

    name: str

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        """Raise `ImageUnavailable` or `InvalidSpec` for what can never run here. No side effects.

        `network` and `required` are what the plan of a replica would have.
        """
        ...

    def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        """Start one replica, yielding its handle *before* each side effect, ever more complete.

        The last handle yielded is enough for `stop`, also if this was cancelled or the process died in between. Returns
        once the replica runs, not when it is ready. Raises `StartFailed` and `ImageUnavailable`.
        """
        ...

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        """End the replica: politely, then by force after `grace`; remove all that it left. Absence is success."""
        ...

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        """One observation for each handle, in any order. A handle that is unknown here is `exited`."""
        ...

    async def update_secrets(self, handle: Handle, secrets: Mapping[str, bytes]) -> None:
        """Write these secret files of the replica anew, each in place; others stay. Absence of the replica is success."""
        ...
