"""The public keys of issuers, fetched when they are needed, and kept.

A provider that is away does not lock anybody out: keys once fetched are used for a day. One that changes its keys is
asked anew when a token names a key that is not known, at most once a minute, whatever strangers send.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import structlog

from hilbert.core.access import Issuer
from hilbert.core.errors import BackendUnavailable, HilbertError
from hilbert.iam.fetch import Fetch, authority
from hilbert.iam.jose import BadToken, VerifyKey, read_document, read_keys
from hilbert.kit.aio import spawn

_log = structlog.get_logger("hilbert.iam")

ASKED_EVERY: Final = 60.0
"""Seconds between two looks for a key that is not known, for each issuer."""
RETRIED_EVERY: Final = 5.0
"""Seconds between two tries while there is no key at all."""
FRESH: Final = 600.0
"""Seconds after which keys are fetched anew, beside their use: a key that its issuer took back goes by then."""
USED_FOR: Final = 24 * 3600.0
"""Seconds for which keys are used without an answer of their issuer."""
_DISCOVERY: Final = "/.well-known/openid-configuration"


class _Known:
    """What is known of one issuer."""

    def __init__(self) -> None:
        self.keys: Mapping[str, VerifyKey] = {}
        self.fetched_at = 0.0
        self.tried_at: float | None = None
        self.fault = ""
        self.task: asyncio.Task[None] | None = None


class IssuerKeys:
    """Keys of all issuers, by what their registration says."""

    def __init__(self, fetch: Fetch, *, now: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._now = now
        self._known: dict[tuple[str, str], _Known] = {}

    async def find(self, issuer: Issuer, kid: str | None) -> VerifyKey:
        """The issuer's key with this id; without one, its only key.

        Raises `BadToken` if it has none such, and `BackendUnavailable` if it cannot be asked.
        """
        known = self._known.setdefault((issuer.iss, issuer.internal), _Known())
        now = self._now()
        if known.keys and now - known.fetched_at > USED_FOR:
            known.keys = {}
        if not known.keys:
            if known.task is not None or self._may_try(known, RETRIED_EVERY):
                await self._refresh(issuer, known)
            if not known.keys:
                raise BackendUnavailable(known.fault or f"the issuer {issuer.iss} has no keys")
        elif now - known.fetched_at > FRESH and self._may_try(known, ASKED_EVERY):
            self._start(issuer, known)
        found = _choose(known.keys, kid)
        if found is None and self._may_try(known, ASKED_EVERY):
            await self._refresh(issuer, known)
            found = _choose(known.keys, kid)
        if found is None:
            raise BadToken("the token is signed with a key that its issuer does not have")
        return found

    def prepare(self, issuers: Iterable[Issuer]) -> None:
        """Fetch the keys of those that are new, in the background, so that what is wrong shows early; forget all others."""
        wanted = {(issuer.iss, issuer.internal): issuer for issuer in issuers}
        self._known = {key: known for key, known in self._known.items() if key in wanted}
        for key, issuer in wanted.items():
            if key not in self._known:
                known = self._known[key] = _Known()
                self._start(issuer, known)

    def faults(self) -> Mapping[str, str]:
        """By `iss`, why its keys could not be fetched the last time."""
        return {iss: known.fault for (iss, _), known in self._known.items() if known.fault}

    def _may_try(self, known: _Known, every: float) -> bool:
        return known.tried_at is None or self._now() - known.tried_at >= every

    async def _refresh(self, issuer: Issuer, known: _Known) -> None:
        """Fetch the keys; several that wait share one fetch. A failure is noted, and the old keys stay."""
        await asyncio.shield(self._start(issuer, known))

    def _start(self, issuer: Issuer, known: _Known) -> asyncio.Task[None]:
        if known.task is None:
            known.tried_at = self._now()
            known.task = spawn(self._load(issuer, known), name="fetch an issuer's keys")
        return known.task

    async def _load(self, issuer: Issuer, known: _Known) -> None:
        try:
            found = read_keys(await self._fetch_keys(issuer))
            if not found:
                raise BadToken("the issuer has no key that can verify a token")
        except HilbertError as exc:
            known.fault = f"{issuer.iss}: {exc.message}"
            _log.warning("keys of an issuer not fetched", issuer=issuer.name, reason=exc.message)
        else:
            known.keys, known.fetched_at, known.fault = found, self._now(), ""
        finally:
            known.task = None

    async def _fetch_keys(self, issuer: Issuer) -> bytes:
        """The key set that the issuer's discovery document names (OpenID Connect Discovery 1.0)."""
        base = issuer.internal or issuer.iss
        named = frozenset({authority(base)})
        document = read_document(await self._fetch(base.removesuffix("/") + _DISCOVERY, named))
        if document.get("issuer") != issuer.iss:
            raise BadToken("its discovery document is another issuer's")
        where = document.get("jwks_uri")
        if not isinstance(where, str):
            raise BadToken("its discovery document names no key set")
        return await self._fetch(_inside(where, issuer.internal) if issuer.internal else where, named)


def _inside(url: str, internal: str) -> str:
    """The same document at the host of `issInternal`: what an issuer calls itself is often not reachable from inside."""
    try:
        parts, host = urlsplit(url), urlsplit(internal)
    except ValueError as exc:
        raise BadToken("its discovery document names no key set") from exc
    return urlunsplit((host.scheme, host.netloc, parts.path, parts.query, ""))


def _choose(keys: Mapping[str, Any], kid: str | None) -> VerifyKey | None:
    if kid is not None:
        return keys.get(kid)
    return next(iter(keys.values())) if len(keys) == 1 else None
