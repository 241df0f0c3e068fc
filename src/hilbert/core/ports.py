"""The seams between the parts, as Protocols.

Two tiers, because Kubernetes reconciles for us and a host does not: a `Provider` is what the control plane sees; a
`Runtime` is what a single-host back end writes, and `providers.host` makes a Provider of it.

Features that not every provider has are capability Protocols. `capability(provider, Logs)` gives the object or raises
`Unsupported`; nothing pretends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from hilbert.core.errors import Unsupported
from hilbert.core.isolation import Promise
from hilbert.core.model import (
    Endpoint,
    EndpointSet,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    LogQuery,
    Namespace,
    Route,
    Secret,
    Synced,
)
from hilbert.core.values import Duration, FunctionRef, NamespaceName, SecretName


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


@runtime_checkable
class Namespaces(Protocol):
    """Capability: namespaces can be made and removed here."""

    async def list_namespaces(self) -> Sequence[Namespace]:
        """Function namespaces by name; the default one is always among them."""
        ...

    async def get_namespace(self, name: NamespaceName) -> Namespace:
        """Raises `NamespaceNotFound`, also for one that exists but is not a function namespace."""
        ...

    async def create_namespace(self, namespace: Namespace) -> None:
        """Raises `AlreadyExists` and `ReservedNamespace`."""
        ...

    async def update_namespace(self, namespace: Namespace) -> None:
        """Replace labels and annotations whole. Raises `NamespaceNotFound`."""
        ...

    async def delete_namespace(self, name: NamespaceName, *, force: bool = False) -> None:
        """Remove it with all that is in it: functions, secrets, logs, counters. Returns when new calls find nothing.

        Where a namespace can hold what the platform did not make, that is named in a `Conflict` and nothing is removed,
        unless `force`. Raises `NamespaceNotFound`, and `Forbidden` for the default namespace.
        """
        ...


@runtime_checkable
class Secrets(Protocol):
    """Capability: secrets, each in one namespace, never readable through the API."""

    async def list_secrets(self, namespace: NamespaceName) -> Sequence[SecretName]:
        """By name. Raises `NamespaceNotFound`."""
        ...

    async def create_secret(self, secret: Secret) -> None:
        """Raises `AlreadyExists` and `NamespaceNotFound`."""
        ...

    async def update_secret(self, secret: Secret) -> None:
        """Running replicas see the new value within seconds. Raises `SecretNotFound` and `NamespaceNotFound`."""
        ...

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        """Raises `SecretNotFound` and `NamespaceNotFound`."""
        ...


@runtime_checkable
class Logs(Protocol):
    """Capability: what replicas wrote."""

    def read_logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        """Stored lines in order of time; with `follow`, new ones as they come until the iterator is closed.

        Raises `FunctionNotFound` at the first step. Lines of replicas that are gone are kept for a bounded while.
        """
        ...


@runtime_checkable
class Diagnostics(Protocol):
    """Capability: the provider can say what it needs and what is wrong."""

    async def facts(self) -> Mapping[str, str]:
        """Short facts for `/system/info` and `doctor`: `sandbox`, `memory-limit`, `cpu-limit`, `warning.*`, ..."""
        ...


C = TypeVar("C")


def capability(provider: object, port: type[C]) -> C:
    """`provider` as the capability `port`. Raises `Unsupported`."""
    if not isinstance(provider, port):
        name = getattr(provider, "name", type(provider).__name__)
        raise Unsupported(f"the {name} provider has no support for {port.__name__.lower()}")
    return provider


class ReplicaPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a runtime needs to start one replica."""

    replica: str
    """`NAME-` and random lower-case letters and digits; the `instance` of log lines."""
    spec: FunctionSpec
    generation: int
    secrets: Mapping[str, bytes]
    """The values of `spec.secrets`."""
    network: bool = True
    """False: no network but its own loopback."""
    required: frozenset[Promise] = frozenset()
    """What must be promised of the replica; it is not started with less."""
    tenant: int = 0
    """The namespace's number, never used again once it is deleted: what a user id of its own is made from."""


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
    """One public sentence for `reason`; for `exited`, with the status and the last log line."""
    placement: Mapping[str, str] = {}


class Runtime(Protocol):
    """What a single-host back end writes. Stateless: a stored handle is enough to stop or adopt a replica."""

    name: str

    def check_spec(self, spec: FunctionSpec, *, network: bool, required: frozenset[Promise]) -> None:
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
        """Replace the replica's secret files in place. Absence is success."""
        ...


class RouteSink(Protocol):
    """Takes the route table, whole first and then line by line. Never blocks; never fails."""

    def reset(self, routes: Iterable[Route]) -> None:
        """Replace the whole table."""
        ...

    def put(self, route: Route) -> None:
        """Add or replace one line."""
        ...

    def drop(self, ref: FunctionRef) -> None:
        """Remove one line. Absence is success."""
        ...
