"""What becomes of replicas that nobody calls: stopped, or frozen until the next call, and stopped if that does not come."""

from __future__ import annotations

import structlog

from hilbert.core.errors import HilbertError, Invalid
from hilbert.core.model import ANNOTATION_IDLE, LABEL_SCALE_ZERO, FunctionSpec, ScalingPolicy
from hilbert.core.ports import Runtime
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import parse_boolean
from hilbert.providers.host.cell import Replica
from hilbert.providers.host.decide import Stage
from hilbert.providers.host.extra import Freezing

_log = structlog.get_logger("hilbert.host")


class Idle:
    """Freezes and thaws, where the runtime can. Changes stages of replicas; the reconciler decides of which."""

    def __init__(self, runtime: Runtime, settings: ProviderSettings) -> None:
        self._runtime = runtime if isinstance(runtime, Freezing) else None
        self._settings = settings

    def most(self, spec: FunctionSpec) -> int:
        """How many replicas of a function at zero are kept frozen: as many as a call would start."""
        chosen = spec.annotations.get(ANNOTATION_IDLE, self._settings.idle)
        if self._runtime is None or chosen != "freeze" or not _goes_to_zero(spec):
            return 0
        return ScalingPolicy.of(spec.labels).min

    def stage_of(self, replica: Replica, now: float) -> None:
        """Of one that an earlier run has left: it may be frozen."""
        if self._runtime is not None and self._runtime.is_frozen(replica.handle):
            replica.stage = Stage.FROZEN
            replica.stop_at = now + self._settings.frozen_time.seconds

    def cool(self, replica: Replica, until: float) -> None:
        replica.stage, replica.stop_at = Stage.COOLING, until

    async def freeze(self, replica: Replica, now: float) -> bool:
        """False: it cannot be, and goes on."""
        if self._runtime is None:
            return False
        try:
            await self._runtime.freeze(replica.handle)
        except HilbertError as exc:
            _log.warning("not frozen", replica=replica.name, reason=exc.message, detail=getattr(exc, "detail", ""))
            return False
        if replica.stage is Stage.COOLING:
            replica.stage, replica.stop_at = Stage.FROZEN, now + self._settings.frozen_time.seconds
        return True

    async def thaw(self, replica: Replica) -> None:
        """It serves again. One that has ended meanwhile is found out by the next look."""
        if self._runtime is not None:
            await self._runtime.thaw(replica.handle)
        replica.stage = Stage.READY


def _goes_to_zero(spec: FunctionSpec) -> bool:
    try:
        return parse_boolean(spec.labels.get(LABEL_SCALE_ZERO, "false"))
    except Invalid:
        return False
