"""Watchdogs that check callers themselves read the gateway's keys once, when they start: after a rotation they are restarted.

A rotation notes in the same write that this is owed. So it is done even if the process dies in between, by whichever gateway leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import structlog

from hilbert.control.call_policy import asks_itself
from hilbert.core.errors import FunctionNotFound, HilbertError
from hilbert.core.ports import Leader, Provider, Restarts
from hilbert.core.values import NamespaceName

OWED_FOR: Final = 60.0
"""Seconds after which a rotation's restarts are another's to do: whoever rotated had the time."""
_LOOK_EVERY: Final = 15.0

_log = structlog.get_logger("hilbert.iam")


class Rotations(Protocol):
    """The gateway's keys, as far as others must be told of them; `iam.signing.KeyRing` is it."""

    def owes(self, *, after: float) -> bool:
        """Whether a rotation is `after` seconds old, and nobody has said that all have been told of it."""
        ...

    async def settled(self) -> None:
        """All have been told. Raises `BackendError`."""
        ...


async def restart_who_know_the_keys(
    provider: Provider, restarts: Restarts, namespaces: Iterable[NamespaceName]
) -> tuple[list[str], list[str]]:
    """Functions that were restarted, and those that were not. Raises `BackendError`."""
    restarted, left = [], []
    for status in [status for space in namespaces for status in await provider.list(space)]:
        if not asks_itself(status.spec):
            continue
        try:
            await restarts.restart(status.spec.ref)
            restarted.append(str(status.spec.ref))
        except FunctionNotFound:
            continue
        except HilbertError as exc:
            _log.warning("a function was not restarted", function=str(status.spec.ref), reason=exc.message)
            left.append(str(status.spec.ref))
    return restarted, left


async def pay_what_is_owed(
    ring: Rotations,
    provider: Provider,
    restarts: Restarts,
    leader: Leader,
    namespaces: Callable[[], Awaitable[Iterable[NamespaceName]]],
    *,
    every: float = _LOOK_EVERY,
) -> None:
    """Do the restarts that a rotation owes and nobody has done, for as long as this gateway leads. Until cancelled."""
    while True:
        if leader.leads and ring.owes(after=OWED_FOR):
            try:
                restarted, left = await restart_who_know_the_keys(provider, restarts, await namespaces())
                if not left:
                    await ring.settled()
                _log.info("restarts after a rotation of keys", restarted=restarted, not_restarted=left)
            except HilbertError as exc:
                _log.warning("restarts after a rotation of keys are still owed", reason=exc.message)
        await asyncio.sleep(every)
