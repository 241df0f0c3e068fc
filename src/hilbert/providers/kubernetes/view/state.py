"""All that the provider knows of the cluster: reflectors, and an index of them by function and by namespace.

Reading never asks the API server. What is here may be old while it is away, and says so (`stale`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import structlog

from hilbert.core.errors import BackendUnavailable, FunctionNotFound, HilbertError, NamespaceNotFound
from hilbert.core.model import LABEL_FUNCTION, Endpoint, EndpointSet, FunctionSpec
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import RESERVED_NAMESPACES, FunctionRef, NamespaceName, parse_namespace_name
from hilbert.kit.aio import Clock, RealClock, cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable, being_deleted
from hilbert.providers.kubernetes.cluster.kinds import Kind
from hilbert.providers.kubernetes.cluster.objects import (
    Deployment,
    EndpointSlice,
    FunctionObject,
    NamespaceObject,
    Object,
    Piece,
    Pod,
    ProfileObject,
    Service,
)
from hilbert.providers.kubernetes.cluster.reflector import Key, Reflector
from hilbert.providers.kubernetes.render import function_object
from hilbert.providers.kubernetes.view import endpoints, tenant_pieces
from hilbert.providers.kubernetes.view.lost_namespaces import LostNamespaces
from hilbert.providers.kubernetes.view.status import start_fault
from hilbert.providers.kubernetes.view.tenant_pieces import Pieces
from hilbert.providers.rules import check_spec

_log = structlog.get_logger("hilbert.kubernetes.state")
_NAMESPACE_POLL: Final = 15.0
_NAMESPACE_POLL_SOON: Final = 2.0
"""Seconds, after a read that failed."""
T = TypeVar("T", bound=Object)


class State:
    """A live picture of the function namespaces. `start` it and `stop` it."""

    def __init__(self, api: Api, settings: KubernetesSettings, *, clock: Clock | None = None) -> None:
        self._api = api
        self._clock = clock or RealClock()
        self._platform = settings.platform_namespace
        self._resync = settings.resync.seconds
        self.listed: tuple[str, ...] = tuple(
            dict.fromkeys(part.strip() for part in settings.namespaces.split(",") if part.strip())
        )
        """Namespaces of an installation without cluster-wide rights; empty: cluster-wide."""
        self._namespaces: dict[str, NamespaceObject] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._polled = asyncio.Event()
        self._lost = LostNamespaces(self.listed)
        self.on_function: list[Callable[[Key], None]] = []
        """Called with the key of a function about which something changed."""
        self.on_namespace: list[Callable[[str], None]] = []
        """Called with the name of a namespace that changed."""
        self._specs: dict[Key, tuple[str, int, FunctionSpec | None, str]] = {}
        self._by_namespace: dict[str, set[str]] = {}
        self._pods: dict[Key, dict[str, Pod]] = {}
        self._slices: dict[Key, dict[str, EndpointSlice]] = {}
        self._answered: dict[str, int] = {}
        """UIDs of Pods that answered the gateway, with the restarts of their containers then."""
        self._lacking: dict[Key, str] = {}
        scopes = self.listed or ("",)
        self._functions = {s: self._reflect(kinds.FUNCTIONS, self._function_changed, s, selector="") for s in scopes}
        self._deployments = {s: self._reflect(kinds.DEPLOYMENTS, self._owned_changed, s) for s in scopes}
        self._services = {s: self._reflect(kinds.SERVICES, self._owned_changed, s) for s in scopes}
        self._pod_reflectors = [self._reflect(kinds.PODS, self._pod_changed, s) for s in scopes]
        self._slice_reflectors = [self._reflect(kinds.SLICES, self._slice_changed, s) for s in scopes]
        self._profiles = self._reflect(kinds.PROFILES, self._profile_changed, self._platform, selector="")
        self._reflectors: list[Reflector[Any]] = [
            *self._functions.values(),
            *self._deployments.values(),
            *self._services.values(),
            *self._pod_reflectors,
            *self._slice_reflectors,
            self._profiles,
        ]
        self._namespace_reflector: Reflector[NamespaceObject] | None = None
        if not self.listed:
            self._namespace_reflector = self._reflect(kinds.NAMESPACES, self._namespace_changed, "", selector="")
            self._reflectors.append(self._namespace_reflector)
        self.pieces: Pieces | None = None
        """What tenants hold of ours; None without cluster-wide rights, when nobody keeps it."""
        if not self.listed:
            self.pieces = Pieces(self._reflect_pieces, self._tell_namespace)
            self._reflectors += self.pieces.reflectors

    def start(self) -> None:
        """Begin to read the cluster; returns at once."""
        self._tasks = [
            spawn(reflector.run(), name=f"watch {reflector.kind} {reflector.namespace}".rstrip())
            for reflector in self._reflectors
        ]
        if self.listed:
            self._tasks.append(spawn(self._poll_namespaces(), name="poll namespaces"))

    async def stop(self) -> None:
        await cancel(*self._tasks)
        self._tasks = []

    @property
    def is_synced(self) -> bool:
        """Whether everything has been read once."""
        return all(r.synced.is_set() or self._lost.is_set(r.namespace) for r in self._reflectors) and (
            not self.listed or self._polled.is_set()
        )

    async def wait_synced(self) -> None:
        for reflector in self._reflectors:
            await self._lost.or_synced(reflector)
        if self.listed:
            await self._polled.wait()

    def stale(self) -> str:
        """Why the picture may be old; empty when it is fresh."""
        lost = self.lost()
        for one in self._reflectors:
            if one.failure and one.namespace not in lost:
                return f"{one.kind}: {one.failure}" + (f"; {one.advice}" if one.advice else "")
        return ""

    def unread(self) -> BackendUnavailable:
        """What to raise while the cluster has not been read."""
        lost = self.lost()
        advice = next((one.advice for one in self._reflectors if one.failure and one.namespace not in lost), "")
        return BackendUnavailable("the gateway is still reading the cluster", detail=self.stale(), hint=advice)

    def lost(self) -> list[str]:
        """Listed namespaces that are not there, or that the gateway may not read. They hold up no other."""
        return [name for name in self.listed if self._lost.is_set(name) and name not in self._namespaces]

    # Namespaces

    def is_reserved(self, name: str) -> bool:
        return name in RESERVED_NAMESPACES or name == self._platform

    def tenant(self, name: str) -> NamespaceObject | None:
        """The namespace, if it is a function namespace now."""
        found = self._namespaces.get(name)
        if (
            found is None
            or self.is_reserved(name)
            or found.annotations.get(names.MARKER) != "1"
            or found.metadata.deletion_timestamp is not None
        ):
            return None
        return found

    def tenants(self) -> list[NamespaceObject]:
        """Function namespaces by name."""
        return [found for name in sorted(self._namespaces) if (found := self.tenant(name)) is not None]

    def namespace_ids(self) -> dict[str, str]:
        """Function namespaces by name, with what tells each from another of its name."""
        return {one.metadata.name: one.metadata.uid for one in self.tenants()}

    def require(self, name: NamespaceName) -> NamespaceObject:
        """Raises `NamespaceNotFound`, and `BackendUnavailable` while the cluster has not been read."""
        found = self.tenant(name)
        if found is None:
            raw = self._namespaces.get(name)
            if raw is not None and raw.metadata.deletion_timestamp is not None and not self.is_reserved(name):
                raise being_deleted(name)
            if not self.is_synced:
                raise self.unread()
            raise NamespaceNotFound(
                f"namespace {name} is not a function namespace",
                hint='an administrator can make it one: kubectl annotate namespace NAME openfaas="1"',
            )
        return found

    def raw_namespace(self, name: str) -> NamespaceObject | None:
        """Any namespace, a tenant or not."""
        return self._namespaces.get(name)

    def observe_namespace(self, item: NamespaceObject) -> None:
        """Take in what an answer to one of our own writes said."""
        if self._namespace_reflector is not None:
            self._namespace_reflector.observe(item)

    def forget_namespace(self, item: NamespaceObject) -> None:
        """Take in that `item` is gone."""
        if self._namespace_reflector is not None:
            self._namespace_reflector.forget(item)

    # Functions

    def function(self, key: Key) -> FunctionObject | None:
        """The Function, if its namespace is a tenant and it is not being deleted."""
        if self.tenant(key[0]) is None:
            return None
        found = _scoped(self._functions, key[0])
        item = found.get(key) if found is not None else None
        return None if item is None or item.metadata.deletion_timestamp is not None else item

    def require_function(self, ref: FunctionRef) -> FunctionObject:
        """Raises `FunctionNotFound`, and `BackendUnavailable` while the cluster has not been read."""
        found = self.function(key_of(ref))
        if found is None or self.spec(found)[0] is None:
            if not self.is_synced:
                raise self.unread()
            raise FunctionNotFound(f"function {ref} not found")
        return found

    def keys(self, namespace: str) -> list[Key]:
        """All functions of one namespace, by name."""
        return [(namespace, name) for name in sorted(self._by_namespace.get(namespace, ()))]

    def all_keys(self) -> Iterable[Key]:
        return [(namespace, name) for namespace, found in self._by_namespace.items() for name in found]

    def deployment(self, key: Key) -> Deployment | None:
        found = _scoped(self._deployments, key[0])
        return found.get(key) if found is not None else None

    def service(self, key: Key) -> Service | None:
        found = _scoped(self._services, key[0])
        return found.get(key) if found is not None else None

    def pods(self, key: Key) -> Sequence[Pod]:
        """The function's Pods, without those of a removed function of the same name."""
        function = self.function(key)
        if function is None:
            return []
        uid = function.metadata.uid
        return [
            pod
            for pod in self._pods.get(key, {}).values()
            if pod.annotations.get(names.ANNOTATION_FUNCTION, uid) == uid
        ]

    def profiles(self) -> dict[str, ProfileObject]:
        return {item.metadata.name: item for item in self._profiles}

    def profile_generation(self, name: str) -> int:
        """0 for a profile that is not there."""
        found = self._profiles.get((self._platform, name))
        return found.metadata.generation if found is not None else 0

    def observe(self, item: FunctionObject | Deployment | Service) -> None:
        """Take in what an answer to one of our own writes said, before the watch tells it."""
        reflector = self._writable(item)
        if reflector is not None:
            reflector.observe(item)

    def forget(self, item: FunctionObject | Deployment | Service) -> None:
        """Take in that we deleted `item`."""
        reflector = self._writable(item)
        if reflector is not None:
            reflector.forget(item)

    def spec(self, function: FunctionObject) -> tuple[FunctionSpec | None, str]:
        """The spec, or the last one that was valid or what of it can be read, and what is wrong with the present one."""
        key = (function.metadata.namespace, function.metadata.name)
        known = self._specs.get(key)
        uid, generation = function.metadata.uid, function.metadata.generation
        if known is not None and known[:2] == (uid, generation):
            return known[2], known[3]
        spec, problem = (known[2] if known is not None and known[0] == uid else None), ""
        try:
            found = function_object.to_spec_struct(function)
            check_spec(found)
            spec = found
        except HilbertError as exc:
            problem = exc.message
            spec = spec or function_object.usable_spec(function)
        self._specs[key] = (uid, generation, spec, problem)
        return spec, problem

    def secrets_of(self, key: Key) -> Collection[str]:
        """Names of the secrets that the function is given."""
        function = self.function(key)
        spec = self.spec(function)[0] if function is not None else None
        return spec.secrets if spec is not None else ()

    def endpoint_set(self, key: Key) -> EndpointSet | None:
        """What routing needs of the function; None for a name that never can be one."""
        try:
            ref = FunctionRef.parse(key[1], default=parse_namespace_name(key[0]))
        except HilbertError:
            return None
        if ref.namespace != key[0]:
            return None
        function = self.function(key)
        spec = self.spec(function)[0] if function is not None else None
        if spec is None:
            return EndpointSet(ref, None)
        namespace = self._namespaces[key[0]]
        found = self.endpoints(key)
        fault = None
        if not found and function is not None:
            fault = start_fault(function, self.deployment(key), self.pods(key), self.lacking(key))
        return EndpointSet(ref, spec, found, dict(namespace.annotations), fault)

    def endpoints(self, key: Key) -> tuple[Endpoint, ...]:
        """Where the function's Pods take calls now."""
        alive = {pod.metadata.uid: pod for pod in self.pods(key) if pod.metadata.deletion_timestamp is None}
        ready = endpoints.collect(self._slices.get(key, {}).values(), alive)
        if not self._answered:
            return ready
        return endpoints.with_answered(
            ready, (pod for uid, pod in alive.items() if self._answered.get(uid, -2) == endpoints.restarts(pod))
        )

    def answered(self, key: Key, pod: Pod) -> None:
        """Take in that a Pod answers, before the cluster says so. It holds until then, or until a container ends."""
        self._answered[pod.metadata.uid] = endpoints.restarts(pod)
        self._tell(key)

    def unanswered(self, key: Key, uid: str) -> None:
        """Take that back, if the cluster has not confirmed it meanwhile."""
        if self._answered.pop(uid, None) is not None:
            self._tell(key)

    def lacks(self, key: Key, secret: str) -> None:
        """Take in that a secret of the function, for which a Pod waits, is not there; empty: that none is missing."""
        if secret != self._lacking.get(key, ""):
            if secret:
                self._lacking[key] = secret
            else:
                self._lacking.pop(key)
            self._tell(key)

    def lacking(self, key: Key) -> str:
        """The secret for which a Pod of the function waits; empty if none is known."""
        return self._lacking.get(key, "")

    # Changes

    def _reflect(
        self,
        kind: Kind[T],
        on_change: Callable[[Key, T | None, T | None], None],
        namespace: str,
        *,
        selector: str = LABEL_FUNCTION,
    ) -> Reflector[T]:
        return Reflector(
            self._api,
            kind,
            on_change,
            namespace=namespace,
            selector=selector,
            resync=self._resync,
            clock=self._clock,
        )

    def _reflect_pieces(
        self, kind: Kind[Piece], on_change: Callable[[Key, Piece | None, Piece | None], None]
    ) -> Reflector[Piece]:
        return self._reflect(kind, on_change, "", selector=tenant_pieces.SELECTOR)

    def _writable(self, item: FunctionObject | Deployment | Service) -> Reflector[Any] | None:
        reflectors: Mapping[str, Reflector[Any]]
        if isinstance(item, FunctionObject):
            reflectors = self._functions
        elif isinstance(item, Deployment):
            reflectors = self._deployments
        else:
            reflectors = self._services
        return _scoped(reflectors, item.metadata.namespace)

    def _function_changed(self, key: Key, _old: FunctionObject | None, new: FunctionObject | None) -> None:
        if new is not None:
            self._by_namespace.setdefault(key[0], set()).add(key[1])
        else:
            self._specs.pop(key, None)
            known = self._by_namespace.get(key[0], set())
            known.discard(key[1])
            if not known:
                self._by_namespace.pop(key[0], None)
        self._tell(key)

    def _owned_changed(self, key: Key, _old: Object | None, _new: Object | None) -> None:
        self._tell(key)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        if new is None and old is not None:
            self._answered.pop(old.metadata.uid, None)
        _file(self._pods, key, old, new, self._tell)

    def _slice_changed(self, key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for uid in endpoints.ready_uids(new) if new is not None and self._answered else ():
            self._answered.pop(uid, None)  # From now on the cluster's word counts.
        _file(self._slices, key, old, new, self._tell)

    def _profile_changed(self, _key: Key, _old: ProfileObject | None, _new: ProfileObject | None) -> None:
        for key in self.all_keys():
            self._tell(key)

    def _namespace_changed(self, key: Key, _old: NamespaceObject | None, new: NamespaceObject | None) -> None:
        name = key[1]
        before = self._namespaces.get(name)
        if new is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = new
        if before is None or new is None or _differs(before, new):
            self._tell_namespace(name)
            for function in self.keys(name):
                self._tell(function)

    def _tell_namespace(self, name: str) -> None:
        for told in self.on_namespace:
            told(name)

    def _tell(self, key: Key) -> None:
        for told in self.on_function:
            told(key)

    async def _poll_namespaces(self) -> None:
        """Without cluster-wide rights namespaces cannot be watched; a Role lets each be read by its name."""
        while True:
            again = _NAMESPACE_POLL
            for name in self.listed:
                try:
                    found = await self._api.find(kinds.NAMESPACES, name)
                except (Refused, Unreachable) as exc:
                    others = any(r.synced.is_set() and not r.failure for r in self._reflectors if r.namespace != name)
                    refused = isinstance(exc, Refused) and exc.code == 403
                    if not (refused and self._lost.refused(name, self._clock.now(), others_answer=others)):
                        again = _NAMESPACE_POLL_SOON
                        _log.warning("namespace not readable", namespace=name, reason=str(exc))
                        continue
                    found = None
                else:
                    self._lost.answered(name, is_there=found is not None)
                if found is not None or name in self._namespaces:
                    self._namespace_changed(("", name), None, found)
            self._polled.set()
            await self._clock.sleep(again)


def key_of(ref: FunctionRef) -> Key:
    return str(ref.namespace), str(ref.name)


def _scoped(reflectors: Mapping[str, Reflector[T]], namespace: str) -> Reflector[T] | None:
    return reflectors[""] if "" in reflectors else reflectors.get(namespace)


def _file(index: dict[Key, dict[str, T]], key: Key, old: T | None, new: T | None, tell: Callable[[Key], None]) -> None:
    """Keep `index`, function -> its objects by name, in step. An object may move to another function by its label."""
    owners = {
        (key[0], item.labels[LABEL_FUNCTION])
        for item in (old, new)
        if item is not None and LABEL_FUNCTION in item.labels
    }
    for owner in owners:
        if new is not None and new.labels.get(LABEL_FUNCTION) == owner[1]:
            index.setdefault(owner, {})[key[1]] = new
        else:
            held = index.get(owner, {})
            held.pop(key[1], None)
            if not held:
                index.pop(owner, None)
        tell(owner)


def _differs(before: NamespaceObject, after: NamespaceObject) -> bool:
    """Whether anything changed that we go by."""
    return (
        before.metadata.uid != after.metadata.uid
        or before.annotations != after.annotations
        or before.labels != after.labels
        or before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
    )
