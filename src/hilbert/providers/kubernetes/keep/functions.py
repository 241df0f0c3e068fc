"""What is done to functions through the API: written to the cluster at once, by the gateway that was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from hilbert.core.errors import AlreadyExists, BackendUnavailable, FunctionNotFound, HilbertError, Invalid
from hilbert.core.model import FunctionSpec
from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import JSON_PATCH, Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable, translated
from hilbert.providers.kubernetes.cluster.objects import FunctionObject
from hilbert.providers.kubernetes.keep import within_quota
from hilbert.providers.kubernetes.keep.deployer import Deployer, Others, first_replicas, has_minimum
from hilbert.providers.kubernetes.keep.namespaces import NamespaceKeeper
from hilbert.providers.kubernetes.keep.retiring import rank_pods
from hilbert.providers.kubernetes.render import function_object
from hilbert.providers.kubernetes.view.state import State, key_of
from hilbert.providers.rules import check_spec

_log = structlog.get_logger("hilbert.kubernetes")
_TRIES: Final = 6


class FunctionWriter:
    """Applies, scales, restarts and removes functions."""

    def __init__(self, api: Api, state: State, deployer: Deployer, namespaces: NamespaceKeeper) -> None:
        self._api = api
        self._state = state
        self._deployer = deployer
        self._namespaces = namespaces
        self.busy: Callable[[FunctionRef], Mapping[str, int]] | None = None
        """Tells how many calls each replica has, by its address."""

    async def apply(self, spec: FunctionSpec, *, create: bool | None = None) -> None:
        """As the port. The same spec once more starts new replicas, since its image may have changed under its name."""
        self._state.require(spec.ref.namespace)
        check_spec(spec)
        await self._namespaces.ensure_complete(spec.ref.namespace)
        await self._deployer.rehearse(spec)
        if not self._deployer.grows(spec):
            await self._apply(spec, create, None)
            return
        async with self._deployer.turn(spec.ref.namespace) as others:
            self._deployer.require_room_for(spec, others)
            await self._apply(spec, create, others)

    async def _apply(self, spec: FunctionSpec, create: bool | None, others: Others) -> None:
        with translated(f"function {spec.ref}"):
            function, before = await self._store(spec, create)
        self._state.observe(function)
        replicas = first_replicas(spec) if before is not None and has_minimum(spec) else None
        try:
            await self._deployer.write(function, spec, replicas, others)
        except BackendUnavailable as exc:
            # The promise stands in the Function; the leading gateway keeps it.
            _log.warning(
                "function stored, not yet deployed", function=str(spec.ref), reason=exc.message, why=exc.detail
            )
        except HilbertError:
            await self._take_back(function, before)
            raise

    async def _take_back(self, stored: FunctionObject, before: FunctionObject | None) -> None:
        """What is refused in the end must not be tried again by the leading gateway: the caller was told no.

        A Function that somebody has changed since is left as it is.
        """
        metadata = stored.metadata
        try:
            if before is None:
                await self._api.delete(kinds.FUNCTIONS, metadata.name, metadata.namespace, uid=metadata.uid)
                self._state.forget(self._state.function((metadata.namespace, metadata.name)) or stored)
                return
            change = [
                {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
                {"op": "test", "path": "/spec", "value": stored.spec},
                {"op": "replace", "path": "/spec", "value": before.spec},
            ]
            done = await self._api.adjust(kinds.FUNCTIONS, metadata.name, change, metadata.namespace, form=JSON_PATCH)
            if done is not None:
                self._state.observe(done)
        except (Refused, Unreachable) as exc:
            _log.warning("a function that was refused stays stored", function=metadata.name, reason=str(exc))

    async def _store(self, spec: FunctionSpec, create: bool | None) -> tuple[FunctionObject, FunctionObject | None]:
        """Write the Function; its spec is replaced whole. Gives it as it is now and as it was; None: it is a new one."""
        namespace, name = key_of(spec.ref)
        manifest = function_object.to_object(spec)
        for _ in range(_TRIES):
            if create is not True:
                found = await self._api.find(kinds.FUNCTIONS, name, namespace)
                if found is not None and found.metadata.deletion_timestamp is None:
                    replaced = await self._replace(found, manifest["spec"])
                    if replaced is None:
                        continue
                    return replaced, found
                if create is False:
                    raise FunctionNotFound(f"function {spec.ref} not found")
            try:
                return await within_quota.create(self._api, kinds.FUNCTIONS, manifest, namespace), None
            except Refused as exc:
                if exc.code == 409 and create is True:
                    raise AlreadyExists(f"function {spec.ref} already exists") from exc
                if exc.is_missing and not exc.lost_namespace:
                    self._state.require(spec.ref.namespace)
                    raise BackendUnavailable(
                        "this cluster has no Function resource",
                        detail=str(exc),
                        hint="ask an administrator to run: hilbert install kubernetes",
                    ) from exc
                if exc.code != 409:
                    raise
        raise BackendUnavailable(f"function {spec.ref} keeps being changed by someone else", hint="try again")

    async def _replace(self, found: FunctionObject, spec: Mapping[str, Any]) -> FunctionObject | None:
        """None: it has changed since it was read."""
        metadata = found.metadata
        change: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
            {"op": "replace", "path": "/spec", "value": spec},
        ]
        # The same name may mean another image by now, and a secret of the same name may have another value.
        if dict(found.spec) == dict(spec) and ("@sha256:" not in spec["image"] or spec.get("secrets")):
            change.append(_once_more(found))
        try:
            return await self._api.adjust(kinds.FUNCTIONS, metadata.name, change, metadata.namespace, form=JSON_PATCH)
        except Refused as exc:
            if exc.code in (409, 422) and "test" in exc.message.lower():
                return None
            raise

    async def restart(self, ref: FunctionRef) -> None:
        """As the port: by an annotation of the Pod template, as `kubectl rollout restart` does."""
        self._state.require(ref.namespace)
        found = self._state.require_function(ref)
        spec, problem = self._state.spec(found)
        if spec is None or problem:
            raise Invalid(f"function {ref} cannot be deployed: {problem}")
        await self._deployer.rehearse(spec)  # What is refused must not be begun.
        change = [{"op": "test", "path": "/metadata/uid", "value": found.metadata.uid}, _once_more(found)]
        with translated(f"function {ref}", missing=FunctionNotFound(f"function {ref} not found")):
            done = await self._api.adjust(kinds.FUNCTIONS, ref.name, change, ref.namespace, form=JSON_PATCH)
        if done is None:
            raise FunctionNotFound(f"function {ref} not found")
        self._state.observe(done)
        await self._deployer.reconcile(done, spec)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        self._state.require(ref.namespace)
        if replicas < 0:
            raise Invalid(f"replicas: must be 0 or more, not {replicas}")
        function = self._state.require_function(ref)
        spec, problem = self._state.spec(function)
        live = self._state.deployment(key_of(ref))
        if spec is None or (live is not None and replicas <= live.replicas):
            await self._scale(ref, function, spec, replicas, None, problem)
            return
        self._deployer.require_room(spec, replicas)
        async with self._deployer.turn(ref.namespace) as others:
            self._deployer.require_room(spec, replicas, others)
            await self._scale(ref, function, spec, replicas, others, problem)

    async def _scale(
        self,
        ref: FunctionRef,
        function: FunctionObject,
        spec: FunctionSpec | None,
        replicas: int,
        others: Others,
        problem: str,
    ) -> None:
        if self.busy is not None and replicas:
            await rank_pods(self._api, self._state, key_of(ref), self.busy(ref), replicas)
        # Not through the scale subresource: the answer is the Deployment, which we see at once then.
        with translated(f"function {ref}"):
            done = await self._api.adjust(kinds.DEPLOYMENTS, ref.name, {"spec": {"replicas": replicas}}, ref.namespace)
        if done is not None:
            self._state.observe(done)
        elif spec is None or problem:
            raise Invalid(f"function {ref} cannot be deployed: {problem}")
        else:
            await self._deployer.write(function, spec, replicas, others)

    async def remove(self, ref: FunctionRef) -> None:
        self._state.require(ref.namespace)
        namespace, name = key_of(ref)
        with translated(f"function {ref}"):
            function = self._state.function((namespace, name)) or await self._api.find(kinds.FUNCTIONS, name, namespace)
            if function is None:
                return
            await self._api.delete(kinds.FUNCTIONS, name, namespace, uid=function.metadata.uid)
            self._state.forget(function)
            # The cluster would collect these after their owner; calls should end now.
            for kind, live in (
                (kinds.DEPLOYMENTS, self._state.deployment((namespace, name))),
                (kinds.SERVICES, self._state.service((namespace, name))),
            ):
                owners = (live.metadata.owner_references or ()) if live is not None else ()
                if live is not None and any(owner.uid == function.metadata.uid for owner in owners):
                    await self._api.delete(kind, name, namespace, uid=live.metadata.uid)
                    self._state.forget(live)


def _once_more(found: FunctionObject) -> dict[str, Any]:
    """The change of a Function (RFC 6902) that has the same spec rolled out again."""
    stamp = datetime.now(UTC).isoformat(timespec="microseconds")
    path = "/metadata/annotations"
    if found.metadata.annotations:
        return {"op": "add", "path": f"{path}/{names.ANNOTATION_ROLLOUT}", "value": stamp}
    return {"op": "add", "path": path, "value": {names.ANNOTATION_ROLLOUT: stamp}}
