"""What some providers can do and others cannot. A missing capability is `Unsupported`, never a pretence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from hilbert.core.errors import Unsupported
from hilbert.core.limits import LogUse, Scope
from hilbert.core.model import CpuTime, FunctionSpec, LogLine, LogQuery, Namespace, Secret
from hilbert.core.ports.provider import Provider
from hilbert.core.values import FunctionRef, NamespaceName, SecretName


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
class Specs(Protocol):
    """Capability: what a function is to be is known without looking at how it is, which takes longer."""

    async def spec(self, ref: FunctionRef) -> FunctionSpec:
        """The spec that `Provider.get` would give. Raises the same."""
        ...


def spec_of(provider: Provider) -> Callable[[FunctionRef], Awaitable[FunctionSpec]]:
    """How to ask for a spec where each call of a function does. Raises as `Provider.get`."""
    if isinstance(provider, Specs):
        return provider.spec

    async def get(ref: FunctionRef) -> FunctionSpec:
        return (await provider.get(ref)).spec

    return get


@runtime_checkable
class SlowDeletion(Protocol):
    """Capability: a namespace that calls no longer find may still be on its way out."""

    async def still_deleting(self, name: NamespaceName) -> str | None:
        """What it waits for, as a sentence. None for a namespace that is not being deleted, there or not."""
        ...


@runtime_checkable
class CpuTimes(Protocol):
    """What replicas use of the processor, as it is charged."""

    async def cpu_times(self) -> Sequence[CpuTime]:
        """Of each replica that runs, and once of each that has ended since this was last asked. It may take a moment."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """Capability: replicas can be replaced by new ones of the same specification."""

    async def restart(self, ref: FunctionRef) -> None:
        """Promise that every replica of now is replaced, one after the other as in an update, so that no call is lost.

        Raises `FunctionNotFound`.
        """
        ...


@runtime_checkable
class Disregards(Protocol):
    """Capability: tells what is kept and returned, as OpenFaaS does, without being acted on."""

    def disregarded(self, of: FunctionSpec | Namespace) -> Sequence[str]:
        """A sentence for each such setting. No I/O."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """Capability: what happens to functions can be told where people look who work with its own tools."""

    def notice(self, ref: FunctionRef, reason: str, message: str, *, warning: bool = False) -> None:
        """`reason` is a word in CamelCase, `message` a sentence. Told soon, if at all. No I/O here, and it never fails."""
        ...


@runtime_checkable
class CountsLogs(Protocol):
    """Capability: holds what replicas write to their logs to a limit, and knows how that is used."""

    async def log_uses(self) -> Mapping[Scope, LogUse] | None:
        """By namespace and function; those that have written nothing lately may be missing. None: nobody can tell now."""
        ...


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """Calls of one function by one gateway, or by several together."""

    finished: int = 0
    started: int = 0
    inflight: int = 0
    """Now, waiting ones included."""
    waiting: int = 0
    """Now: for a replica."""
    refused: int = 0
    """Of the finished ones, those that a limit of calls at once has refused."""

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.finished + other.finished,
            self.started + other.started,
            self.inflight + other.inflight,
            self.waiting + other.waiting,
            self.refused + other.refused,
        )


@runtime_checkable
class SharedCounts(Protocol):
    """Capability: several gateways serve the same functions, and know of each other's calls."""

    def share_counts(self, read: Callable[[], Mapping[FunctionRef, Counted]]) -> None:
        """From now on let the other gateways know what `read` gives: calls by this one. Once."""
        ...

    def counted_elsewhere(self, ref: FunctionRef) -> Counted:
        """Calls of a function by the other gateways, some seconds old."""
        ...

    def moved_elsewhere(self) -> Iterable[FunctionRef]:
        """Functions whose counts by other gateways have changed since this was last asked, or that have calls there."""
        ...


@runtime_checkable
class SharedUsage(Protocol):
    """Capability: several gateways count what namespaces use, and have a place in common for it.

    Methods raise `BackendError`, and `QuotaExceeded` where there is no room.
    """

    async def keep_usage(self, day: str, part: bytes) -> None:
        """Keep what this process has counted for a day, in place of what it kept before."""
        ...

    async def usage_elsewhere(self) -> Sequence[tuple[str, bytes]]:
        """Day and part of each other process, those that are gone included."""
        ...

    async def forget_usage(self, before: str) -> None:
        """Remove the parts of days before this one."""
        ...

    def namespace_ids(self) -> Mapping[str, str]:
        """Function namespaces by name, each with what tells it from one of the same name, earlier or later."""
        ...


@runtime_checkable
class Retiring(Protocol):
    """Capability: chooses by their work which replicas go first when a function is scaled down."""

    def tell_busy(self, read: Callable[[FunctionRef], Mapping[str, int]]) -> None:
        """From now on go by what `read` gives: calls under way by a replica's address, a second old. Once."""
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
class SecretValues(Protocol):
    """Capability: the platform itself can use a secret, for its namespace's own purposes alone."""

    async def secret_value(self, namespace: NamespaceName, name: SecretName) -> bytes:
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
