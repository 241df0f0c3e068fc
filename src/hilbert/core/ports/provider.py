"""What the control plane sees of whatever runs functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from hilbert.core.model import EndpointSet, FunctionSpec, FunctionStatus, Synced
from hilbert.core.values import FunctionRef, NamespaceName


class Provider(Protocol):
    """Turns function specs into running replicas. Knows nothing of HTTP.

    Every method may be cancelled at any await and leaves either the old or the new state. What `apply`, `scale` and
    `remove` promised by returning survives a crash of the process. Errors: `NamespaceNotFound` when the namespace is
    not a function namespace, `BackendUnavailable` and `StorageFull` when nothing could be promised.
    """

    @property
    def name(self) -> str:
        """Short name, as in settings and `/system/info`: `process`, `memory`, `kubernetes`."""
        ...

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        """Promise that `spec` will run; returns before it does. Idempotent.

        `create=True` raises `AlreadyExists` if the function is there, `create=False` raises `FunctionNotFound` if it is
        not, `None` takes either. An existing function keeps its replica count unless its `com.openfaas.scale.min` label
        sets one. Raises `InvalidSpec`, `SecretNotFound` for a secret that its namespace lacks, and `ImageUnavailable`
        for an image that can never run here.
        """
        ...

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        """Promise `replicas` (0 or more). Idempotent. Raises `FunctionNotFound`."""
        ...

    async def remove(self, ref: FunctionRef) -> None:
        """Forget the function and stop its replicas after their calls. Absence is success."""
        ...

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        """Raises `FunctionNotFound`."""
        ...

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        """All functions of one namespace, by name."""
        ...

    def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        """Every function's endpoint set, then `Synced`, then each set again whenever it changes, for ever.

        Sets are levels: several changes of one function may come as one. A replica leaves its set before it is told to
        stop, and stays alive for the drain delay after that. Cancel by closing the iterator; any number may run at once.
        """
        ...
