"""`KubernetesProvider`: the ports, over the picture of the cluster (`state`) and the writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from hilbert.core.errors import FunctionNotFound, HilbertError
from hilbert.core.model import (
    CpuTime,
    EndpointSet,
    FunctionSpec,
    FunctionStatus,
    LogLine,
    LogQuery,
    Namespace,
    Phase,
    Secret,
    Synced,
    Usage,
)
from hilbert.core.ports import Counted, Shelf, Topic
from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import FunctionRef, NamespaceName, SecretName, parse_namespace_name
from hilbert.kit.aio import Clock, RealClock, spawn
from hilbert.providers import disregarded
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.cluster.lease import Leadership
from hilbert.providers.kubernetes.cluster.objects import FunctionObject
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.keep.call_counts import CallCounts
from hilbert.providers.kubernetes.keep.deployer import Deployer, first_replicas
from hilbert.providers.kubernetes.keep.event_recorder import EventRecorder
from hilbert.providers.kubernetes.keep.functions import FunctionWriter
from hilbert.providers.kubernetes.keep.namespaces import NamespaceKeeper
from hilbert.providers.kubernetes.keep.operator import Operator
from hilbert.providers.kubernetes.keep.secret_watch import SecretWatch
from hilbert.providers.kubernetes.keep.secrets import SecretStore
from hilbert.providers.kubernetes.keep.shelves import Shelves
from hilbert.providers.kubernetes.keep.turns import Turns
from hilbert.providers.kubernetes.keep.usage_parts import UsageParts
from hilbert.providers.kubernetes.render import namespace_annotations, pod, tenant
from hilbert.providers.kubernetes.view.first_answers import FirstAnswers
from hilbert.providers.kubernetes.view.logs import LogReader
from hilbert.providers.kubernetes.view.missing_secrets import MissingSecrets
from hilbert.providers.kubernetes.view.state import State
from hilbert.providers.kubernetes.view.status import condense, stalled
from hilbert.providers.kubernetes.view.usage import CpuClock, UsageReader

_log = structlog.get_logger("hilbert.kubernetes")


class KubernetesProvider:
    """A `Provider` with `Namespaces`, `Secrets`, `Logs` and `Diagnostics` for one cluster.

    A function is an object of kind Function; its Deployment and Service follow from it. Any number of gateways may run
    at once; the one that holds the Lease (`leadership`) repairs what drifts and takes care of functions and namespaces
    that were not made through the API. Call `start` before anything else and `close` at the end.
    """

    name = "kubernetes"

    def __init__(
        self,
        settings: KubernetesSettings | None = None,
        *,
        provider: ProviderSettings | None = None,
        clock: Clock | None = None,
        api: Api | None = None,
    ) -> None:
        """Raises `InvalidSettings` when no cluster is configured."""
        self._settings = settings or KubernetesSettings()
        general = provider or ProviderSettings(name="kubernetes")
        self._default = parse_namespace_name(general.default_namespace)
        self._clock = clock or RealClock()
        self._api = api or connect(self._settings, clock=clock)
        self._state = State(self._api, self._settings, clock=clock)
        platform = self._settings.platform_namespace
        self.leadership = Leadership(self._api, platform, duration=self._settings.lease_duration.seconds, clock=clock)
        """Who does what only one gateway may do; the scaler and the schedules go by it, too."""
        turns = Turns(self._api, platform, self.leadership.identity, clock=clock)
        self._deployer = Deployer(self._api, self._state, pod.Rules.of(self._settings, general), turns)
        surroundings = tenant.Surroundings.of(self._settings)
        self._namespaces = NamespaceKeeper(self._api, self._state, surroundings, self._default)
        self._functions = FunctionWriter(self._api, self._state, self._deployer, self._namespaces)
        self._operator = Operator(self._api, self._state, self._deployer, self._namespaces, platform)
        self._secrets = SecretStore(self._api, self._state, turns)
        self._secret_watch = SecretWatch(self._api, self._state, self._clock)
        self._logs = LogReader(self._api, self._state)
        self._usage = UsageReader(self._api, self._clock)
        self._first = FirstAnswers(self._state, self._clock)
        self._missing = MissingSecrets(self._api, self._state, self._clock)
        self._counts = CallCounts(self._api, platform, identity=self.leadership.identity, clock=self._clock)
        self._parts = UsageParts(self._api, platform)
        self._cpu = CpuClock(self._usage, self._clock, who=self.leadership.identity)
        self._shelves = Shelves(self._api, platform, clock=clock)
        self._events = EventRecorder(self._api, self._state, identity=self.leadership.identity, clock=self._clock)
        self._leading: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to read the cluster. Returns before it has been read: calls raise `BackendUnavailable` until then."""
        self._first.start()
        self._missing.start()
        self._state.start()
        self._shelves.start()
        self.leadership.start()
        self._leading = spawn(self._lead(), name="lead")

    async def wait_ready(self) -> None:
        """Until everything has been read once."""
        await self._state.wait_synced()

    async def close(self, *, stop_replicas: bool = False) -> None:
        """Stop. Replicas go on: they are the cluster's. `stop_replicas` is taken for likeness with hosts and refused."""
        if stop_replicas:
            _log.warning("functions keep running after the gateway stops")
        if self._closed:
            return
        self._closed = True
        task, self._leading = self._leading, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._operator.stop()
        await self._namespaces.stop()
        await self._secret_watch.stop()
        await self.leadership.stop()
        await self._counts.stop()
        await self._events.stop()
        await self._first.stop()
        await self._missing.stop()
        await self._shelves.stop()
        await self._state.stop()
        await self._api.close()

    def shelf(self, topic: Topic) -> Shelf:
        return self._shelves.shelf(topic)

    def watch_access(self, changed: Callable[[Sequence[Mapping[str, Any]]], None]) -> None:
        self._shelves.watch_access(changed)

    async def _lead(self) -> None:
        """Do the leader's work whenever we lead."""
        turned = asyncio.Event()
        self.leadership.on_change.append(lambda _leads: turned.set())
        await self._state.wait_synced()
        at_work = False
        while True:
            turned.clear()
            if self.leadership.leads and not at_work:
                at_work = True
                try:
                    await self._namespaces.ensure_default()
                except HilbertError as exc:
                    _log.warning("default namespace not made", reason=exc.message, detail=exc.detail)
                self._operator.start()
                self._namespaces.start()
                self._secret_watch.start()
            elif at_work and not self.leadership.leads:
                at_work = False
                await self._operator.stop()
                await self._namespaces.stop()
                await self._secret_watch.stop()
            await turned.wait()

    # Provider

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        await self._functions.apply(spec, create=create)

    async def restart(self, ref: FunctionRef) -> None:
        await self._functions.restart(ref)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        await self._functions.scale(ref, replicas)

    async def remove(self, ref: FunctionRef) -> None:
        await self._functions.remove(ref)

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        self._state.require(ref.namespace)
        function = self._state.require_function(ref)
        usage = await self._usage.of(ref.namespace)
        return self._status(function, usage)

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        self._state.require(namespace)
        if not self._state.is_synced:
            raise self._state.unread()
        usage = await self._usage.of(namespace)
        found = (self._state.function(key) for key in self._state.keys(namespace))
        return [
            self._status(function, usage)
            for function in found
            if function is not None and self._state.spec(function)[0] is not None
        ]

    async def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        await self._state.wait_synced()
        changed: dict[Key, None] = {}
        woken = asyncio.Event()

        def on_change(key: Key) -> None:
            changed[key] = None
            woken.set()

        told: dict[Key, EndpointSet] = {}
        self._state.on_function.append(on_change)
        try:
            for key in self._state.all_keys():
                changed.pop(key, None)
                found = self._state.endpoint_set(key)
                if found is not None and found.spec is not None:
                    told[key] = found
                    yield found
            yield Synced()
            while True:
                await woken.wait()
                woken.clear()
                while changed:
                    key = next(iter(changed))
                    del changed[key]
                    found = self._state.endpoint_set(key)
                    before = told.get(key)
                    if found is None or (found.spec is None and before is None) or found == before:
                        continue
                    if found.spec is None:
                        del told[key]
                    else:
                        told[key] = found
                    yield found
        finally:
            self._state.on_function.remove(on_change)

    # Capabilities

    def disregarded(self, of: FunctionSpec | Namespace) -> Sequence[str]:
        found = disregarded.on_kubernetes(of)
        if isinstance(of, Namespace):
            wrong = namespace_annotations.problems(of.annotations)
            found += [f"annotation {key}: it is not followed: {why}" for key, why in wrong.items()]
        return found

    async def list_namespaces(self) -> Sequence[Namespace]:
        if not self._state.is_synced:
            raise self._state.unread()
        return await self._namespaces.list_namespaces()

    async def get_namespace(self, name: NamespaceName) -> Namespace:
        return await self._namespaces.get_namespace(name)

    async def create_namespace(self, namespace: Namespace) -> None:
        await self._namespaces.create_namespace(namespace)

    async def update_namespace(self, namespace: Namespace) -> None:
        await self._namespaces.update_namespace(namespace)

    async def delete_namespace(self, name: NamespaceName, *, force: bool = False) -> None:
        await self._namespaces.delete_namespace(name, force=force)

    async def still_deleting(self, name: NamespaceName) -> str | None:
        return await self._namespaces.still_deleting(name)

    async def list_secrets(self, namespace: NamespaceName) -> Sequence[SecretName]:
        return await self._secrets.list_secrets(namespace)

    async def create_secret(self, secret: Secret) -> None:
        await self._secrets.create_secret(secret)

    async def update_secret(self, secret: Secret) -> None:
        await self._secrets.update_secret(secret)

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        await self._secrets.delete_secret(namespace, name)

    def read_logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        return self._logs.read_logs(query)

    async def facts(self) -> Mapping[str, str]:
        found = {
            "provider": self.name,
            "rights": "namespaces " + ", ".join(self._state.listed) if self._state.listed else "cluster-wide",
            "platform-namespace": self._settings.platform_namespace,
            "leads": "yes" if self.leadership.leads else "no",
            "functions": str(sum(1 for key in self._state.all_keys() if self._state.function(key) is not None)),
            "isolation": "Pods, network policies and Pod Security of the cluster",
        }
        if not self._state.is_synced:
            found["warning.sync"] = (
                f"the gateway has not finished reading the cluster: {self._state.stale() or 'in progress'}"
            )
        elif stale := self._state.stale():
            found["warning.stale"] = f"what the gateway knows of the cluster may be out of date: {stale}"
        if self.leadership.foreign:
            found["warning.lease"] = self.leadership.foreign
        if failure := self._secret_watch.failure():
            found["warning.secrets"] = (
                f"Pods are not told of secrets that others change, and see them within two minutes: {failure}; where "
                "rights are missing, run hilbert install kubernetes again"
            )
        found.update(self._namespaces.facts())
        if self._state.is_synced and self._state.tenant(self._default) is None:
            found["warning.default-namespace"] = (
                f'namespace {self._default} has no annotation openfaas="1", so it holds no functions'
            )
        return found

    def tell_busy(self, read: Callable[[FunctionRef], Mapping[str, int]]) -> None:
        self._functions.busy = read

    def notice(self, ref: FunctionRef, reason: str, message: str, *, warning: bool = False) -> None:
        self._events.record(ref, reason, message, warning=warning)

    async def keep_usage(self, day: str, part: bytes) -> None:
        await self._parts.keep(day, part)

    async def usage_elsewhere(self) -> Sequence[tuple[str, bytes]]:
        return await self._parts.others()

    async def forget_usage(self, before: str) -> None:
        await self._parts.forget(before)

    def namespace_ids(self) -> Mapping[str, str]:
        return self._state.namespace_ids()

    async def cpu_times(self) -> Sequence[CpuTime]:
        """As the port, of functions. Only who leads counts."""
        namespaces = [one.metadata.name for one in self._state.tenants()] if self.leadership.leads else []
        return await self._cpu.look(namespaces)

    def share_counts(self, read: Callable[[], Mapping[FunctionRef, Counted]]) -> None:
        self._counts.start(read)

    def counted_elsewhere(self, ref: FunctionRef) -> Counted:
        return self._counts.elsewhere(ref)

    def moved_elsewhere(self) -> Iterable[FunctionRef]:
        return self._counts.take_moved()

    # Memory

    def _status(self, function: FunctionObject, usage: Mapping[str, Usage]) -> FunctionStatus:
        key = (function.metadata.namespace, function.metadata.name)
        spec, problem = self._state.spec(function)
        if spec is None:
            raise FunctionNotFound(f"function {key[1]}.{key[0]} not found")
        deployment = self._state.deployment(key)
        available = len(self._state.endpoints(key))
        seen = condense(
            deployment,
            self._state.pods(key),
            generation=function.metadata.generation,
            rollout=function.annotations.get(names.ANNOTATION_ROLLOUT, ""),
            available=available,
            now=datetime.now(UTC),
            lacks=self._state.lacking(key),
        )
        if (
            not seen.reason
            and seen.phase in (Phase.STARTING, Phase.UPDATING)
            and (told := stalled(function)) is not None
        ):
            seen = msgspec.structs.replace(seen, phase=Phase.FAILED, reason=told[0], message=told[1])
        return FunctionStatus(
            spec=spec,
            replicas=deployment.replicas if deployment is not None else first_replicas(spec),
            available=available,
            created_at=function.metadata.creation_timestamp or datetime.now(UTC),
            generation=function.metadata.generation,
            ready_generation=seen.ready_generation,
            phase=seen.phase,
            reason="InvalidSpec" if problem else seen.reason,
            message=problem or seen.message,
            placement={"provider": self.name, "runtime": "pod"},
            usage=usage.get(key[1]),
        )
