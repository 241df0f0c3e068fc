"""`HostProvider`: the ports, over the store (what is promised) and the reconciler (what is so)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from hilbert.core.errors import (
    AlreadyExists,
    Forbidden,
    FunctionNotFound,
    ImageUnavailable,
    Invalid,
    NamespaceNotFound,
    QuotaExceeded,
)
from hilbert.core.isolation import STRICT, Promise
from hilbert.core.last_words import LINES, telling_line
from hilbert.core.limits import LogUse, Scope, TenantLimits
from hilbert.core.model import (
    CpuTime,
    EndpointSet,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    LogQuery,
    Namespace,
    Secret,
    Synced,
    Usage,
)
from hilbert.core.ports import Diagnostics, Handle, ReplicaLogs, Runtime
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import FunctionRef, NamespaceName, SecretName, parse_namespace_name
from hilbert.kit.aio import Clock, RealClock, SingleFlight, spawn
from hilbert.kit.sqlite import Database
from hilbert.providers import disregarded
from hilbert.providers.host.cell import Cell
from hilbert.providers.host.extra import Disregarding, Expecting, Fetching, Forgetting, Measuring, Pinning, Weighing
from hilbert.providers.host.reconcile import Reconciler
from hilbert.providers.host.record import FunctionRecord, TenantRecord
from hilbert.providers.host.status import render_status
from hilbert.providers.host.store import Store, storage_errors
from hilbert.providers.hub import Hub
from hilbert.providers.rules import (
    check_host_profiles,
    check_namespace,
    check_network,
    check_spec,
    network_of,
    required_of,
)

_USAGE_FRESH: Final = 2.0
"""Seconds for which a measurement is good enough to be given again."""


class HostProvider:
    """A `Provider` with `Namespaces`, `Secrets`, `Logs` and `Diagnostics` for one machine.

    Promises are written to the database first and taken into memory after, in the same order; reads come from memory.
    One instance owns the database at a time. Call `start` before anything else and `close` at the end.
    """

    def __init__(
        self,
        database: Database,
        runtime: Runtime,
        *,
        logs: ReplicaLogs,
        settings: ProviderSettings | None = None,
        clock: Clock | None = None,
        required: frozenset[Promise] = frozenset(),
    ) -> None:
        """`required` is promised of every replica, whatever its namespace demands. `database` comes from `open_database` and stays the caller's to close."""
        self._settings = settings or ProviderSettings()
        self._default = parse_namespace_name(self._settings.default_namespace)
        self._clock = clock or RealClock()
        self._store = Store(database)
        self._runtime = runtime
        # Asking a Protocol takes its time, and every deployment would.
        self._fetches = runtime if isinstance(runtime, Fetching) else None
        self._pins = runtime if isinstance(runtime, Pinning) else None
        self._disregards = runtime if isinstance(runtime, Disregarding) else None
        self._logs = logs
        self._required = required
        self._tenants: dict[NamespaceName, TenantRecord] = {}
        self._members: dict[NamespaceName, set[FunctionRef]] = {}
        self._hub = Hub(self._endpoint_set, self._known)
        self._reconciler = Reconciler(
            self._store,
            runtime,
            settings=self._settings,
            clock=self._clock,
            namespace_of=self._namespace_of,
            required=required,
            changed=self._hub.changed,
            last_words=self._last_words,
        )
        self._measuring: SingleFlight[tuple[FunctionRef, ...], None] = SingleFlight()
        self._promises: SingleFlight[object, None] = SingleFlight()

    @property
    def name(self) -> str:
        """The runtime's: to a user, how replicas run is what tells one host provider from another."""
        return self._runtime.name

    async def start(self) -> None:
        """Read what was promised, take back the replicas that run, begin to reconcile. Raises `StorageFull`."""
        loaded = await self._store.load()
        for tenant in loaded.tenants:
            self._set_tenant(tenant)
        if self._default not in self._tenants:
            await self._new_tenant(Namespace(name=self._default))
        for record in loaded.functions:
            self._take(record)
        self._logs.keep_only(self._known())
        await self._reconciler.start(loaded.replicas)
        for ref in self._known():
            if self._reconciler.cells[ref].replicas:
                await self._rewrite_secrets(ref)

    async def close(self, *, stop_replicas: bool = False) -> int:
        """Stop. Replicas go on and are taken back by the next `start`; with `stop_replicas` they end.

        Returns how many did not end within `provider.grace` and were ended by force.
        """
        forced = await self._reconciler.close(stop_replicas=stop_replicas)
        await self._logs.close()
        return forced

    # Provider

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        """As the port. Raises also `InvalidSpec` for an environment variable that begins with `HILBERT_`."""
        tenant = self._tenant(spec.ref.namespace)
        check_spec(spec)
        imposed = tenant.namespace.annotations
        check_network(spec, imposed)
        required = self._required | required_of(spec, imposed)
        self._runtime.check_spec(spec, network=network_of(spec, imposed), required=required)
        pin = self._pins.pin(spec) if self._pins is not None else ""

        async def commit() -> None:
            record = await self._store.apply(spec, create=create, pin=pin, max_replicas=self._settings.max_replicas)
            cell = self._take(record)
            cell.reset()
            cell.published_fault = None  # The new one has not failed.
            self._hub.changed(spec.ref)
            self._reconciler.wake(spec.ref)

        await self._whole(commit)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        """As the port. Raises `QuotaExceeded` above the setting `provider.max_replicas`."""
        before = self._record(ref)
        if replicas < 0:
            raise Invalid(f"replicas: must be 0 or more, not {replicas}")
        most = self._settings.max_replicas
        if replicas > most:
            raise QuotaExceeded(
                f"function {ref}: {replicas} replicas are more than this machine's limit of {most} per function",
                hint="the administrator can raise provider.max_replicas",
            )
        if replicas > before.replicas and isinstance(self._runtime, Expecting):
            self._runtime.expect()

        async def commit() -> None:
            record = await self._store.scale(ref, replicas)
            cell = self._reconciler.cell(ref)
            if cell.record is not None and cell.record.replicas == 0 and replicas:
                cell.reset()
            self._take(record)
            self._reconciler.wake(ref)

        await self._whole(commit)

    async def restart(self, ref: FunctionRef) -> None:
        self._record(ref)

        async def commit() -> None:
            cell = self._take(await self._store.restart(ref))
            cell.reset()
            cell.published_fault = None
            self._hub.changed(ref)
            self._reconciler.wake(ref)

        await self._whole(commit)

    async def remove(self, ref: FunctionRef) -> None:
        self._tenant(ref.namespace)

        async def commit() -> None:
            await self._store.remove(ref)
            self._drop(ref)
            self._logs.drop(ref)

        await self._whole(commit)

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        record = self._record(ref)
        cell = self._reconciler.cells[ref]
        await self._measure([cell])
        return self._status(cell, cell.record or record)

    async def spec(self, ref: FunctionRef) -> FunctionSpec:
        return self._record(ref).spec

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        """As the port. `usage` may be some seconds old: a new measurement is begun, not waited for."""
        self._tenant(namespace)
        cells = [self._reconciler.cells[ref] for ref in sorted(self._members.get(namespace, ()))]
        spawn(self._measure(cells), name=f"measure {namespace}")
        return [self._status(cell, cell.record) for cell in cells if cell.record is not None]

    def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        return self._hub.watch()

    def tell_busy(self, read: Callable[[FunctionRef], Mapping[str, int]]) -> None:
        self._reconciler.busy = read

    def disregarded(self, of: FunctionSpec | Namespace) -> Sequence[str]:
        found = disregarded.on_host(of)
        if isinstance(of, FunctionSpec) and self._disregards is not None:
            with contextlib.suppress(ImageUnavailable):
                found += self._disregards.disregarded(of)
        return found

    async def log_uses(self) -> Mapping[Scope, LogUse] | None:
        return await self._logs.uses()

    # Namespaces

    async def list_namespaces(self) -> Sequence[Namespace]:
        return [self._tenants[name].namespace for name in sorted(self._tenants)]

    async def get_namespace(self, name: NamespaceName) -> Namespace:
        return self._tenant(name).namespace

    async def create_namespace(self, namespace: Namespace) -> None:
        """As the port. Raises also `Invalid` for an annotation of ours with a value that has no meaning."""
        check_namespace(namespace)
        check_host_profiles(namespace.annotations)
        if namespace.name in self._tenants:
            raise AlreadyExists(f"namespace {namespace.name} already exists")
        await self._whole(lambda: self._new_tenant(namespace))

    async def update_namespace(self, namespace: Namespace) -> None:
        """As the port. Replicas that break a stricter annotation are taken out at once."""
        self._tenant(namespace.name)
        check_namespace(namespace)
        check_host_profiles(namespace.annotations)

        async def commit() -> None:
            self._set_tenant(await self._store.update_namespace(namespace))
            if isinstance(self._runtime, Weighing):
                self._runtime.weigh(namespace.name, TenantLimits.usable(namespace.annotations).weight)
            for ref in self._members.get(namespace.name, ()):
                self._hub.changed(ref)
                self._reconciler.wake(ref)

        await self._whole(commit)

    async def delete_namespace(self, name: NamespaceName, *, force: bool = False) -> None:  # noqa: ARG002
        """As the port. Here all that a namespace holds was made by the platform, so that there is nothing to force."""
        self._tenant(name)
        if name == self._default:
            raise Forbidden(f"namespace {name} is the default namespace and cannot be deleted")

        async def commit() -> None:
            if isinstance(self._runtime, Forgetting):  # First: a crash in between leaves nothing to a namesake.
                with storage_errors():
                    await asyncio.to_thread(self._runtime.forget_namespace, name)
            await self._store.delete_namespace(name)
            self._tenants.pop(name, None)
            self._logs.slow(name, None, 0)
            for ref in self._members.pop(name, set()):
                self._drop(ref)
            self._logs.drop_namespace(name)

        await self._whole(commit)

    # Secrets

    async def list_secrets(self, namespace: NamespaceName) -> Sequence[SecretName]:
        self._tenant(namespace)
        return await self._store.secret_names(namespace)

    async def secret_value(self, namespace: NamespaceName, name: SecretName) -> bytes:
        return (await self._store.secret_values(self._tenant(namespace).number, (name,)))[name]

    async def create_secret(self, secret: Secret) -> None:
        """As the port. Functions that could not start without it are started at once.

        Replicas that run have one of that name that was deleted: they are given this one.
        """
        self._tenant(secret.namespace)

        async def commit() -> None:
            await self._store.put_secret(secret, create=True)
            for cell in self._readers_of(secret):
                cell.retry_at = 0.0
                self._reconciler.wake(cell.ref)
                await self._rewrite_secrets(cell.ref)

        await self._whole(commit)

    async def update_secret(self, secret: Secret) -> None:
        self._tenant(secret.namespace)

        async def commit() -> None:
            await self._store.put_secret(secret, create=False)
            for cell in self._readers_of(secret):
                await self._rewrite_secrets(cell.ref)

        await self._whole(commit)

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        """As the port. Replicas that have it keep it; a function that lists it starts no new ones."""
        self._tenant(namespace)
        await self._store.delete_secret(namespace, name)

    # Logs and diagnostics

    async def read_logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        uid = self._record(query.ref).uid

        def alive() -> bool:
            cell = self._reconciler.cells.get(query.ref)
            return cell is not None and cell.record is not None and cell.record.uid == uid

        async for line in self._logs.read(query, alive=alive):
            yield line

    async def facts(self) -> Mapping[str, str]:
        own = {
            "provider": self.name,
            "functions": str(sum(map(len, self._members.values()))),
            "isolation": "strict" if self._required >= STRICT else "single-owner",
        }
        return {**own, **await self._runtime.facts()} if isinstance(self._runtime, Diagnostics) else own

    # Memory

    async def _whole(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a promise to its end even if the caller is cancelled: the database and the memory change together."""
        await self._promises.run(object(), work)

    def _tenant(self, name: NamespaceName) -> TenantRecord:
        tenant = self._tenants.get(name)
        if tenant is None:
            raise NamespaceNotFound(f"namespace {name} not found")
        return tenant

    def _namespace_of(self, ref: FunctionRef) -> Namespace | None:
        tenant = self._tenants.get(ref.namespace)
        return None if tenant is None else tenant.namespace

    def _record(self, ref: FunctionRef) -> FunctionRecord:
        self._tenant(ref.namespace)
        cell = self._reconciler.cells.get(ref)
        if cell is None or cell.record is None:
            raise FunctionNotFound(f"function {ref} not found")
        return cell.record

    def _known(self) -> Sequence[FunctionRef]:
        return [ref for members in self._members.values() for ref in members]

    async def _new_tenant(self, namespace: Namespace) -> None:
        self._set_tenant(await self._store.create_namespace(namespace))

    def _set_tenant(self, tenant: TenantRecord) -> None:
        namespace = tenant.namespace
        self._tenants[namespace.name] = tenant
        self._logs.slow(namespace.name, None, TenantLimits.usable(namespace.annotations).log_bytes)

    def _take(self, record: FunctionRecord) -> Cell:
        ref = record.spec.ref
        cell = self._reconciler.cell(ref)
        cell.record = record
        self._logs.slow(ref.namespace, ref.name, TenantLimits.usable(record.spec.annotations).log_bytes)
        self._members.setdefault(ref.namespace, set()).add(ref)
        return cell

    def _drop(self, ref: FunctionRef) -> None:
        self._members.get(ref.namespace, set()).discard(ref)
        cell = self._reconciler.cells.get(ref)
        if cell is None or cell.record is None:
            return
        cell.record = None
        self._logs.slow(ref.namespace, ref.name, 0)
        cell.published = ()
        cell.published_fault = None
        cell.reset()
        self._hub.changed(ref)
        self._reconciler.wake(ref)

    def _endpoint_set(self, ref: FunctionRef) -> EndpointSet:
        cell = self._reconciler.cells.get(ref)
        tenant = self._tenants.get(ref.namespace)
        if cell is None or cell.record is None or tenant is None:
            return EndpointSet(ref=ref, spec=None)
        return EndpointSet(
            ref=ref,
            spec=cell.record.spec,
            endpoints=cell.published,
            namespace_annotations=tenant.namespace.annotations,
            fault=cell.published_fault,
        )

    def _status(self, cell: Cell, record: FunctionRecord) -> FunctionStatus:
        fetching = self._fetches.fetching(record.spec.ref) if self._fetches is not None and not cell.reason else ""
        return render_status(cell, record, self._reconciler.revision(record), provider=self.name, fetching=fetching)

    async def _last_words(self, handle: Handle) -> str:
        return telling_line(await self._logs.last_lines(handle.ref, handle.replica, LINES))

    def _readers_of(self, secret: Secret) -> Sequence[Cell]:
        cells = [self._reconciler.cells[ref] for ref in self._members.get(secret.namespace, ())]
        return [cell for cell in cells if cell.record is not None and secret.name in cell.record.spec.secrets]

    async def _rewrite_secrets(self, ref: FunctionRef) -> None:
        """Give every running replica of `ref` the values as they are now."""
        cell = self._reconciler.cells[ref]
        record = cell.record
        if record is None or not record.spec.secrets:
            return
        uid = record.uid
        values = await self._store.secret_values(record.tenant, record.spec.secrets, missing_ok=True)
        handles = [replica.handle for replica in cell.replicas.values() if replica.uid == uid]
        await asyncio.gather(*(self._runtime.update_secrets(handle, values) for handle in handles))

    async def cpu_times(self) -> Sequence[CpuTime]:
        """As the port."""
        if not isinstance(self._runtime, Measuring):
            return ()
        handles = self._reconciler.handles(list(self._reconciler.cells.values()))
        return await asyncio.to_thread(self._runtime.cpu_times, handles)

    async def _measure(self, cells: Sequence[Cell]) -> None:
        """Bring `usage` up to date where it is older than `_USAGE_FRESH`."""
        runtime = self._runtime
        stale = [cell for cell in cells if cell.replicas and self._clock.now() - cell.usage_at >= _USAGE_FRESH]
        if not stale or not isinstance(runtime, Measuring):
            return

        async def run() -> None:
            handles = {cell.ref: self._reconciler.handles([cell]) for cell in stale}
            flat = [handle for group in handles.values() for handle in group]
            measured = await asyncio.to_thread(runtime.measure, flat)
            for cell in stale:
                seen = [measured[handle.replica] for handle in handles[cell.ref] if handle.replica in measured]
                cell.usage_at = self._clock.now()
                cell.usage = None
                if seen:
                    cell.usage = Usage(sum(u.cpu_millis for u in seen), sum(u.memory_bytes for u in seen))

        await self._measuring.run(tuple(cell.ref for cell in stale), run)
