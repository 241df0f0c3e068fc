"""Tells the workers, and the REST API, who may call functions that ask for it, as soon as it changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

from hilbert.control.call_policy import asks_itself
from hilbert.core.errors import HilbertError
from hilbert.core.identity import Action
from hilbert.core.model import EndpointSet
from hilbert.core.values import FunctionRef
from hilbert.dataplane.feed.messages import CallKey, CallKeys, CallPass
from hilbert.iam.federation import PASS_LIFE, Federation
from hilbert.iam.roles import ACTIONS
from hilbert.iam.token_store import TokenStore

EVERY: Final = 0.4
"""Seconds after which a change is told at the latest; a revocation is in force within a second."""

_log = structlog.get_logger("hilbert.iam")


class _Pass(NamedTuple):
    token: str
    kids: frozenset[str]
    """The keys there were when it was signed."""
    renew_at: float


class KeyTeller:
    """Compares what there is with what was told last."""

    def __init__(
        self,
        tokens: TokenStore | None,
        federation: Federation | None,
        tell: Callable[[CallKeys], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._federation = federation
        self._tell = tell
        self._now = now
        self._told: CallKeys | None = None
        self._watched: set[FunctionRef] = set()
        self._passes: dict[FunctionRef, _Pass] = {}
        if tokens is not None:
            tokens.on_change.append(self.look)  # Whoever has just been given a token may call at once.

    def seen(self, change: EndpointSet) -> None:
        """A function whose own watchdog asks for tokens needs a pass for the gateway's calls."""
        if change.spec is not None and asks_itself(change.spec):
            self._watched.add(change.ref)
        else:
            self._watched.discard(change.ref)
            self._passes.pop(change.ref, None)

    def look(self) -> None:
        """Tell what has changed."""
        found = self._found()
        if found != self._told:
            self._told = found
            self._tell(found)

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.look()

    def _found(self) -> CallKeys:
        federation = self._federation
        keys = federation.ring.jwks()["keys"] if federation is not None else []
        return CallKeys(
            issuer=federation.url if federation is not None else "",
            keys=keys,
            tokens=[
                CallKey(
                    id=token.id,
                    name=token.name,
                    digest=token.digest,
                    namespaces=[str(name) for name in token.namespaces],
                    may_call=Action.FUNCTION_INVOKE in ACTIONS[token.role],
                    until=token.expires_at.timestamp() if token.expires_at is not None else 0.0,
                )
                for token in (self._tokens.all() if self._tokens is not None else ())
            ],
            passes=list(self._signed(federation, frozenset(str(one["kid"]) for one in keys))) if federation else [],
        )

    def _signed(self, federation: Federation, kids: frozenset[str]) -> Iterable[CallPass]:
        """Passes for all that need one: new ones half-way through their life, and as soon as there are other keys."""
        now = self._now()
        for ref in sorted(self._watched):
            found = self._passes.get(ref)
            if found is None or found.kids != kids or now >= found.renew_at:
                try:
                    token = federation.pass_for(ref).access_token
                except HilbertError as exc:
                    _log.warning("a function's watchdog cannot be given a token", function=str(ref), reason=exc.message)
                    continue
                found = self._passes[ref] = _Pass(token, kids, now + PASS_LIFE / 2)
            yield CallPass(ref.namespace, ref.name, found.token)
