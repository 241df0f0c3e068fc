"""Wakes functions that are scaled to zero."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from hilbert.control.limits.starts import Starts
from hilbert.core.errors import FunctionNotFound, HilbertError, NamespaceNotFound, QuotaExceeded, SecretNotFound
from hilbert.core.model import ScalingPolicy, StartFault
from hilbert.core.ports import Noticing, Provider
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import KeyedQueue
from hilbert.kit.pace import Pace

_log = structlog.get_logger("hilbert.activation")


class Activation:
    """Takes wake-ups from the workers. Many for one function are one; one that is not at zero is left alone."""

    def __init__(self, provider: Provider, *, starts: Starts | None = None, workers: int = 8) -> None:
        """`starts` says whose turn it is, where a namespace may not start all at once."""
        self._provider = provider
        self._starts = starts or Starts()
        self._starts.on_turn = self.wake
        self._queue: KeyedQueue[FunctionRef] = KeyedQueue(
            self._wake, name="activation", workers=workers, pace=Pace(first=0.1, most=5.0)
        )
        self.on_refused: Callable[[FunctionRef, StartFault], None] = lambda _ref, _fault: None
        """Told why a function cannot be started now: whoever waits for it need not wait longer. Must not fail."""
        self.woken = 0
        """How often a function was started from zero."""

    def start(self) -> None:
        self._queue.start()

    async def stop(self) -> None:
        await self._queue.stop()

    def wake(self, ref: FunctionRef) -> None:
        """A call waits for `ref`. Returns at once, never fails, and may be given as often as one likes."""
        self._queue.add(ref)

    async def _wake(self, ref: FunctionRef) -> None:
        """Raises what is worth another try; the queue backs off."""
        try:
            status = await self._provider.get(ref)
            if status.replicas > 0:
                return
            if not self._starts.may_begin(ref):
                return  # It is woken when its turn comes; its calls wait.
            replicas = ScalingPolicy.of(status.spec.labels).min
            await self._provider.scale(ref, replicas)
        except HilbertError as exc:
            if exc.retryable:
                raise
            _log.info("not woken", function=str(ref), reason=exc.message)
            if not isinstance(exc, FunctionNotFound | NamespaceNotFound):
                self.on_refused(ref, _told(exc))
            return
        self.woken += 1
        if isinstance(self._provider, Noticing):
            self._provider.notice(ref, "Woken", f"0 => {replicas} replicas (a call came)")
        _log.info("woken", function=str(ref), replicas=replicas)


def _told(error: HilbertError) -> StartFault:
    """Without what only those may know who govern the function: whoever may call it reads this."""
    if isinstance(error, QuotaExceeded):
        return StartFault("QuotaExceeded", "the namespace's quota is used up")
    if isinstance(error, SecretNotFound):
        return StartFault("SecretNotFound", "a secret that it needs does not exist")
    return StartFault(type(error).__name__, "it cannot be started now; hilbert describe says why")
