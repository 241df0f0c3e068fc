"""Brings a function's Deployment and Service in line with its Function object. Idempotent at every step.

Server-side apply under one field manager: drift in what we own is repaired, fields of others stay. The replica count is
part of what is applied, with the version of the Deployment it was read from, so that a scaling in between is never undone.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from hilbert.core.errors import (
    BackendUnavailable,
    Conflict,
    InvalidSpec,
    SecretNotFound,
)
from hilbert.core.model import LABEL_FUNCTION, LABEL_SCALE_MIN, FunctionSpec, ScalingPolicy
from hilbert.core.values import whole_or
from hilbert.providers import quota
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, translated
from hilbert.providers.kubernetes.cluster.objects import Deployment, FunctionObject, Manifest, Object, Service
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.keep.turns import Turns
from hilbert.providers.kubernetes.render import demand, drift, namespace_annotations, pod, profiles, workload
from hilbert.providers.kubernetes.view.state import State

_TRIES: Final = 8
_PULL_TYPES: Final = frozenset({"kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"})
_FORBIDDEN_TYPES: Final = frozenset({"kubernetes.io/service-account-token", "helm.sh/release.v1"})
"""Secrets that give away more than their namespace means to."""


Others = Mapping[Key, Deployment] | None
"""The Deployments of a namespace as the cluster has them now; None: as they are known here."""
_NOBODY: Final = "00000000-0000-4000-8000-000000000000"


class Deployer:
    """Writes Deployments and Services, and nothing else."""

    def __init__(self, api: Api, state: State, rules: pod.Rules, turns: Turns) -> None:
        self._api = api
        self._state = state
        self._rules = rules
        self._turns = turns
        self._locks: weakref.WeakValueDictionary[Key, asyncio.Lock] = weakref.WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, namespace: str, needed: Callable[[], bool] = lambda: True) -> AsyncIterator[Others]:
        """What is written inside the block is counted with the Deployments that it gives, and by nobody else meanwhile.

        Costs nothing where nothing is counted, or what is to be done is not `needed` any more. Raises `BackendUnavailable`.
        """
        if not quota.is_limited(self._annotations(namespace)):
            yield None
            return
        async with self._turns.taken(namespace, needed) as is_ours:
            with translated():
                others = await self._others(namespace) if is_ours else None
            yield others

    async def _others(self, namespace: str) -> dict[Key, Deployment]:
        """Read anew: another gateway may have written what our watches have not told. Without those of removed functions."""
        every = await self._api.every(kinds.DEPLOYMENTS, namespace, selector=LABEL_FUNCTION)
        found = {(namespace, one.metadata.name): one for one in every if one.metadata.deletion_timestamp is None}
        if found.keys() - set(self._state.keys(namespace)):
            # New ones, or of functions that are gone, which the cluster collects when it gets to it.
            there = {one.metadata.name for one in await self._api.every(kinds.FUNCTIONS, namespace)}
            found = {key: one for key, one in found.items() if key[1] in there}
        return found

    async def rehearse(self, spec: FunctionSpec) -> None:
        """Find out, before anything is stored, whether the cluster takes it. Raises as `reconcile`."""
        key = (str(spec.ref.namespace), str(spec.ref.name))
        function = self._state.function(key)
        owner = workload.Owner(function.metadata.uid if function is not None else _NOBODY, 1)
        manifest = self._render(spec, owner, 1, frozenset())
        pull_secrets = await self.pull_secrets(spec)
        if pull_secrets:
            manifest = self._render(spec, owner, 1, pull_secrets)
        live = self._state.deployment(key)
        for known in (live, self._state.service(key)):
            if known is not None:
                _require_ours(known, spec)
        quota.check_resources(spec, self._annotations(key[0]))
        self._require_room(
            spec, manifest["spec"], first_replicas(spec) if live is None or has_minimum(spec) else live.replicas
        )
        del manifest["spec"]["replicas"]
        with translated(f"function {spec.ref}"):
            await self._api.apply(kinds.DEPLOYMENTS, manifest, rehearse=True)

    async def pull_secrets(self, spec: FunctionSpec) -> frozenset[str]:
        """Which of the function's secrets are registry credentials. Raises `SecretNotFound` and `InvalidSpec`."""
        found = set()
        for name in spec.secrets:
            with translated():
                secret = await self._api.find(kinds.SECRETS, name, spec.ref.namespace)
            if secret is None:
                raise SecretNotFound(
                    f"unable to find secret: {name}",
                    hint=f"create it first: faas-cli secret create {name} --namespace {spec.ref.namespace}",
                )
            if secret.type in _FORBIDDEN_TYPES:
                raise InvalidSpec(f"secret {name} has type {secret.type}, which functions may not use")
            if secret.type in _PULL_TYPES:
                found.add(name)
        return frozenset(found)

    async def reconcile(
        self, function: FunctionObject, spec: FunctionSpec, *, replicas: int | None = None
    ) -> Deployment:
        """Write what differs. `replicas` sets the count; None keeps it, or takes the first one.

        Raises `InvalidSpec`, `SecretNotFound`, `Conflict`, `QuotaExceeded` and `BackendUnavailable`.
        """
        if not self._may_grow(function, spec, replicas):
            return await self.write(function, spec, replicas)
        self.require_room_for(spec, None)
        needed = functools.partial(self._may_grow, function, spec, replicas)
        async with self.turn(function.metadata.namespace, needed) as others:
            return await self.write(function, spec, replicas, others)

    def _may_grow(self, function: FunctionObject, spec: FunctionSpec, replicas: int | None) -> bool:
        live = self._state.deployment((function.metadata.namespace, function.metadata.name))
        applied = live.annotations.get(names.ANNOTATION_APPLIED, "") if live is not None else ""
        uid, _, generation = applied.partition("/")
        if uid != function.metadata.uid or replicas is not None:
            return True
        return generation != str(function.metadata.generation) and self.grows(spec)

    async def write(
        self, function: FunctionObject, spec: FunctionSpec, replicas: int | None, others: Others = None
    ) -> Deployment:
        """As `reconcile`, inside a `turn` that has given `others`.

        One at a time for a function: the operator would write what an `apply` under way is about to write.
        """
        key = (function.metadata.namespace, function.metadata.name)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            return await self._write(key, function, spec, replicas, others)

    async def _write(
        self, key: Key, function: FunctionObject, spec: FunctionSpec, replicas: int | None, others: Others
    ) -> Deployment:
        metadata = function.metadata
        owner = workload.Owner(
            metadata.uid, metadata.generation, function.annotations.get(names.ANNOTATION_ROLLOUT, "")
        )
        with translated(str(spec.ref)):
            live = self._state.deployment(key) or await self._read(kinds.DEPLOYMENTS, key)
            if live is not None:
                _require_ours(live, spec)
            await self._service(key, spec, owner)
            for _ in range(_TRIES):
                done = await self._deployment(spec, owner, live, replicas, others)
                if done is not None:
                    return done
                live = await self._read(kinds.DEPLOYMENTS, key)
        raise BackendUnavailable(f"function {spec.ref} keeps being changed by someone else", hint="try again")

    async def _deployment(
        self,
        spec: FunctionSpec,
        owner: workload.Owner,
        live: Deployment | None,
        replicas: int | None,
        others: Others,
    ) -> Deployment | None:
        """None: it has changed since it was read."""
        applied = live.annotations.get(names.ANNOTATION_APPLIED, "") if live is not None else ""
        count = replicas if replicas is not None else first_replicas(spec)
        if live is not None:
            _require_ours(live, spec)
            if live.metadata.deletion_timestamp is not None:
                raise BackendUnavailable(f"the old Deployment of {spec.ref} is still being removed", hint="try again")
            if replicas is None:
                count = _kept(spec, owner, applied, live.replicas)
            if await self._is_overtaken(spec, owner, applied):
                return live
        if live is not None and applied == f"{owner.uid}/{owner.generation}":
            known = live.annotations.get(names.ANNOTATION_PULL_SECRETS, "")
            pull_secrets = frozenset(name for name in known.split(",") if name in spec.secrets)
        else:
            pull_secrets = await self.pull_secrets(spec)
        manifest = self._render(spec, owner, count, pull_secrets)
        if live is not None:
            if drift.is_in_step(manifest, live):
                return live
            manifest["metadata"]["resourceVersion"] = live.metadata.resource_version
        quota.check_resources(spec, self._annotations(str(spec.ref.namespace)))
        self._require_room(spec, manifest["spec"], count, others)
        try:
            done = await self._api.apply(kinds.DEPLOYMENTS, manifest)
        except Refused as exc:
            if exc.code == 409 and live is not None:
                return None
            raise
        self._state.observe(done)
        return done

    async def _is_overtaken(self, spec: FunctionSpec, owner: workload.Owner, applied: str) -> bool:
        """Whether somebody has applied a later version of the Function than the one that we know."""
        uid, _, generation = applied.partition("/")
        if uid != owner.uid or whole_or(generation, 0) <= owner.generation:
            return False
        now = await self._read(kinds.FUNCTIONS, (str(spec.ref.namespace), str(spec.ref.name)))
        return now is not None and now.metadata.generation > owner.generation

    async def _service(self, key: Key, spec: FunctionSpec, owner: workload.Owner) -> None:
        live = self._state.service(key) or await self._read(kinds.SERVICES, key)
        if live is not None:
            _require_ours(live, spec)
        manifest = workload.service(spec, owner=owner)
        if live is None or not drift.is_in_step(manifest, live):
            done = await self._api.apply(kinds.SERVICES, manifest)
            self._state.observe(done)

    def require_room(self, spec: FunctionSpec, replicas: int, others: Others = None) -> None:
        """Raise `QuotaExceeded` if the namespace may not have so many replicas of the function besides the others'."""
        key = (str(spec.ref.namespace), str(spec.ref.name))
        live = (others or {}).get(key) or self._state.deployment(key)
        if live is not None:
            self._require_room(spec, live.spec, replicas, others)

    def grows(self, spec: FunctionSpec) -> bool:
        """Whether the function would take more of its namespace's quota than it does."""
        key = (str(spec.ref.namespace), str(spec.ref.name))
        annotations, live = self._annotations(key[0]), self._state.deployment(key)
        if not quota.is_limited(annotations):
            return False
        if live is None:
            return True
        manifest = self._render(spec, workload.Owner(_NOBODY, 1), 1, frozenset())
        count = first_replicas(spec) if has_minimum(spec) else live.replicas
        now = demand.of_spec(live.spec, live.replicas, annotations)
        then = demand.of_spec(manifest["spec"], count, annotations)
        return then.replicas > now.replicas or any(
            then.replicas * amount > now.replicas * now.each.get(of, 0) for of, amount in then.each.items()
        )

    def require_room_for(self, spec: FunctionSpec, others: Others) -> None:
        """As `require_room`, for a spec that is about to be stored."""
        key = (str(spec.ref.namespace), str(spec.ref.name))
        if not quota.is_limited(self._annotations(key[0])):
            return
        live = (others or {}).get(key) or self._state.deployment(key)
        count = first_replicas(spec) if live is None or has_minimum(spec) else live.replicas
        manifest = self._render(spec, workload.Owner(_NOBODY, 1), 1, frozenset())
        self._require_room(spec, manifest["spec"], count, others)

    def _require_room(self, spec: FunctionSpec, deployment: object, replicas: int, others: Others = None) -> None:
        namespace = str(spec.ref.namespace)
        annotations = self._annotations(namespace)
        if not quota.is_limited(annotations):
            return
        now: dict[Key, quota.Demand] = {}
        for key in {*self._state.keys(namespace), *(others or ())}:
            live = self._state.deployment(key) if others is None else others.get(key)
            found = (live.spec, live.replicas) if live is not None else ({}, 0)
            now[key] = demand.of_spec(*found, annotations)
        then = {**now, (namespace, str(spec.ref.name)): demand.of_spec(deployment, replicas, annotations)}
        quota.check(annotations, now.values(), then.values(), f"function {spec.ref}")

    def _annotations(self, namespace: str) -> Mapping[str, str]:
        found = self._state.tenant(namespace)
        return namespace_annotations.usable(found.annotations) if found is not None else {}

    def _render(
        self, spec: FunctionSpec, owner: workload.Owner, replicas: int, pull_secrets: frozenset[str]
    ) -> Manifest:
        annotations = self._annotations(spec.ref.namespace)
        chosen = profiles.chosen(spec.annotations, annotations)
        profiles.check_allowed(chosen, self._state.profiles(), annotations)
        merged = profiles.merge(chosen, self._state.profiles(), imposed=profiles.imposed(annotations))
        return workload.deployment(
            spec,
            owner=owner,
            replicas=replicas,
            pull_secrets=pull_secrets,
            profile=merged,
            namespace_annotations=annotations,
            rules=self._rules,
        )

    async def _read(self, kind: kinds.Kind[kinds.T], key: Key) -> kinds.T | None:
        return await self._api.find(kind, key[1], key[0])


def first_replicas(spec: FunctionSpec) -> int:
    return ScalingPolicy.of(spec.labels).min


def has_minimum(spec: FunctionSpec) -> bool:
    """Whether the spec itself says how many replicas it starts with."""
    text = spec.labels.get(LABEL_SCALE_MIN)
    return text is not None and ScalingPolicy.of(spec.labels).min == whole_or(text, 0)


def _kept(spec: FunctionSpec, owner: workload.Owner, applied: str, live: int) -> int:
    """The count to go on with: a new spec that states a minimum sets it, a new function starts anew."""
    uid, slash, generation = applied.partition("/")
    if not slash:
        return live  # Another OpenFaaS provider made it, or somebody overwrote the note: take it over as it is.
    if uid != owner.uid:
        return first_replicas(spec)
    if generation != str(owner.generation) and has_minimum(spec):
        return first_replicas(spec)
    return live


def _require_ours(live: Object, spec: FunctionSpec) -> None:
    owners = live.metadata.owner_references or ()
    # Other platforms have Functions, too.
    owned = any(owner.kind == "Function" and owner.api_version.startswith("openfaas.com/") for owner in owners)
    if live.labels.get(LABEL_FUNCTION) != spec.ref.name and not owned:
        kind = "Service" if isinstance(live, Service) else "Deployment"
        raise Conflict(
            f"namespace {spec.ref.namespace} has a {kind} {spec.ref.name} that does not belong to a function",
            hint="choose another name, or remove it with kubectl",
        )
