"""The operator: what only the leading gateway does for every Function object, whoever wrote it.

`kubectl apply` deploys, edits roll out, drift is repaired, the status tells the truth. Level-triggered: each round looks
at the whole of one function and writes only what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from hilbert.core.errors import BackendUnavailable, HilbertError
from hilbert.core.model import Phase
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused
from hilbert.providers.kubernetes.cluster.objects import Deployment, FunctionObject, Manifest
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.keep.deployer import Deployer
from hilbert.providers.kubernetes.keep.function_status import function_status
from hilbert.providers.kubernetes.keep.namespaces import NamespaceKeeper
from hilbert.providers.kubernetes.keep.upkeep_queue import UpkeepQueue
from hilbert.providers.kubernetes.render import profiles
from hilbert.providers.kubernetes.render.drift import contains
from hilbert.providers.kubernetes.render.function_object import API_VERSION
from hilbert.providers.kubernetes.view.state import State
from hilbert.providers.kubernetes.view.status import Condensed, condense

_log = structlog.get_logger("hilbert.kubernetes.operator")
_RETRY: Final = 30.0
"""Seconds until a function that cannot be deployed is looked at again without being asked."""


class Operator:
    """`start` it while leading, `stop` it when not."""

    def __init__(
        self, api: Api, state: State, deployer: Deployer, namespaces: NamespaceKeeper, platform_namespace: str
    ) -> None:
        self._api = api
        self._state = state
        self._deployer = deployer
        self._namespaces = namespaces
        self._platform = platform_namespace
        self._queue: UpkeepQueue[Key] = UpkeepQueue(self._process, name="operator", workers=8)
        state.on_function.append(self._queue.add)

    def start(self) -> None:
        """Look at every function once, then at each that changes."""
        self._queue.start()
        for key in self._state.all_keys():
            self._queue.add(key)

    async def stop(self) -> None:
        await self._queue.stop()

    async def _process(self, key: Key) -> float | None:
        function = self._state.function(key)
        if function is None:
            return None
        again: float | None = None
        why = "InvalidSpec"
        spec, problem = self._state.spec(function)
        deployment = self._state.deployment(key)
        used: Sequence[str] = ()
        if spec is not None and not problem:
            try:
                namespace = self._state.tenant(key[0])
                used = profiles.chosen(spec.annotations, namespace.annotations if namespace is not None else {})
                if deployment is None:
                    await self._namespaces.ensure_complete(key[0])
                deployment = await self._deployer.reconcile(function, spec)
            except BackendUnavailable:
                raise
            except HilbertError as exc:
                problem, why, again = exc.message, type(exc).__name__, _RETRY
        seen = condense(
            deployment,
            self._state.pods(key),
            generation=function.metadata.generation,
            rollout=function.annotations.get(names.ANNOTATION_ROLLOUT, ""),
            available=len(self._state.endpoints(key)),
            now=datetime.now(UTC),
            lacks=self._state.lacking(key),
        )
        await self._write_status(function, deployment, seen, (why, problem), used)
        if again is None and seen.phase is Phase.STARTING:
            again = _RETRY  # Time alone may turn waiting into trouble, and nothing would tell.
        return again

    async def _write_status(
        self,
        function: FunctionObject,
        deployment: Deployment | None,
        seen: Condensed,
        problem: tuple[str, str],
        used: Sequence[str],
    ) -> None:
        known = function.status or {}
        wanted = function_status(
            function,
            known=known,
            replicas=deployment.replicas if deployment is not None else 0,
            available=len(self._state.endpoints((function.metadata.namespace, function.metadata.name))),
            seen=seen,
            problem=problem,
            profiles_used=[(self._platform, name, self._state.profile_generation(name)) for name in used],
            now=datetime.now(UTC),
        )
        if set(known) <= set(wanted) and contains(wanted, known):
            return
        manifest: Manifest = {
            "apiVersion": API_VERSION,
            "kind": "Function",
            "metadata": {"name": function.metadata.name, "namespace": function.metadata.namespace},
            "status": wanted,
        }
        try:
            done = await self._api.apply(kinds.FUNCTIONS, {**manifest}, sub="status")
        except Refused as exc:
            if exc.code == 404:
                return
            raise
        if done.metadata.uid == function.metadata.uid:
            self._state.observe(done)
