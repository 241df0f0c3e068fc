"""Tells the workers, and the REST API, who may call functions that ask for it, as soon as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from hilbert.core.identity import Action
from hilbert.dataplane.feed.messages import CallKey, CallKeys
from hilbert.iam.federation import Federation
from hilbert.iam.roles import ACTIONS
from hilbert.iam.token_store import TokenStore

EVERY: Final = 0.4
"""Seconds after which a change is told at the latest; a revocation is in force within a second."""


class KeyTeller:
    """Compares what there is with what was told last."""

    def __init__(
        self, tokens: TokenStore | None, federation: Federation | None, tell: Callable[[CallKeys], None]
    ) -> None:
        self._tokens = tokens
        self._federation = federation
        self._tell = tell
        self._told: CallKeys | None = None

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
        return CallKeys(
            issuer=federation.url if federation is not None else "",
            keys=federation.ring.jwks()["keys"] if federation is not None else [],
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
        )
