"""What a runtime may offer beyond the port. Each is optional; without it the host provider does with less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from hilbert.core.model import CpuTime, FunctionSpec, Usage
from hilbert.core.ports import Handle
from hilbert.core.values import FunctionRef, NamespaceName


@runtime_checkable
class Announcing(Protocol):
    """Says when there is something new to `check`. Without it the provider asks again and again."""

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed(replica)` soon after an observation has changed. A hint, not a record: it may come twice."""
        ...


@runtime_checkable
class Pinning(Protocol):
    """Knows what an image name means now. Without it only a changed spec is rolled out."""

    def pin(self, spec: FunctionSpec) -> str:
        """A short text that changes when the same spec would run something else. Raises `ImageUnavailable`."""
        ...


@runtime_checkable
class Disregarding(Protocol):
    """Knows what of a spec has no effect on what the image is."""

    def disregarded(self, spec: FunctionSpec) -> Sequence[str]:
        """A sentence for each such setting. Raises `ImageUnavailable`."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """Has something to fetch before a replica can start, such as its image."""

    async def prepare(self, spec: FunctionSpec, *, generation: int, pull_secret: bytes) -> None:
        """Return once it is here, which may take minutes. Replicas of one generation share what is fetched.

        `pull_secret`: logins of the function's namespace; empty: none. Raises `ImageUnavailable`. May be cancelled.
        """
        ...


@runtime_checkable
class Expecting(Protocol):
    """Has something to do that makes a start quicker if it is told of it a few milliseconds before."""

    def expect(self) -> None:
        """A replica will be started as soon as that has been written down. A hint: it may not come."""
        ...


@runtime_checkable
class Fetching(Protocol):
    """Tells how far the fetching is for which `Preparing` waits."""

    def fetching(self, ref: FunctionRef) -> str:
        """A part of a sentence for the function's owner; empty: nothing is being fetched for it."""
        ...


@runtime_checkable
class Freezing(Protocol):
    """Can hold a replica where it is, so that it goes on within a millisecond. Without it, idle replicas are stopped."""

    async def freeze(self, handle: Handle) -> None:
        """Hold a replica that is ready and has no calls. Raises `StartFailed` if that is not to be done; then it goes on."""
        ...

    async def thaw(self, handle: Handle) -> None:
        """Let it go on. Absence, and not being frozen, is success."""
        ...

    def is_frozen(self, handle: Handle) -> bool:
        """Also of one that an earlier run has frozen."""
        ...


@runtime_checkable
class Forgetting(Protocol):
    """Keeps things that belong to a namespace, such as its images."""

    def forget_namespace(self, name: NamespaceName) -> None:
        """Remove them, so that a namesake made later finds none. Blocks; called from a thread. Raises `OSError`."""
        ...


@runtime_checkable
class Weighing(Protocol):
    """Shares out the processors among namespaces."""

    def weigh(self, name: NamespaceName, weight: float) -> None:
        """From now on it counts so much against the others, whose weight is 1 unless they say otherwise."""
        ...


@runtime_checkable
class Measuring(Protocol):
    """Measures replicas. Without it, `usage` stays unknown."""

    def measure(self, handles: Sequence[Handle]) -> Mapping[str, Usage]:
        """Usage by replica, of those that can be measured. Blocks for a moment; called from a thread."""
        ...

    def cpu_times(self, handles: Sequence[Handle]) -> Sequence[CpuTime]:
        """Of those that can be measured, and once of each that has ended since this was last asked. Called as `measure`."""
        ...
