"""Who can get into this gateway: its tokens, and those of identity providers, put together for where they are kept."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from hilbert.core.errors import BackendError, Unsupported
from hilbert.core.ports import Shelf
from hilbert.core.settings import Settings
from hilbert.iam.access import Access
from hilbert.iam.access_store import AccessStore
from hilbert.iam.federation import Federation
from hilbert.iam.fetch import Fetcher
from hilbert.iam.issuer_keys import IssuerKeys
from hilbert.iam.signing import KeyRing
from hilbert.iam.token_store import TokenStore

_log = structlog.get_logger("hilbert.control")


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """What a control process knows of tokens. All None where there is no place to keep them."""

    tokens: TokenStore | None = None
    access: Access | None = None
    objects: AccessStore | None = None
    federation: Federation | None = None


@contextlib.asynccontextmanager
async def running_sign_in(settings: Settings, *, url: str) -> AsyncIterator[SignIn]:
    """`url` is where the gateway listens. Raises `HilbertError` when what is kept cannot be read."""
    if settings.provider.name != "host":
        yield SignIn()
        return
    from hilbert.iam.sqlite_shelf import SqliteShelves

    with contextlib.ExitStack() as stack:
        try:
            shelves = SqliteShelves(Path(settings.paths.state_dir) / "tokens.db")
            stack.callback(shelves.close)
            tokens = TokenStore(shelves.shelf("tokens"))
            await tokens.load()
            access = Access()
            objects = AccessStore(shelves.shelf("access"), access)
            await objects.load()
            federation = await federate(settings, access, shelves.shelf("issuing_keys"), url=url)
        except (sqlite3.Error, OSError, RuntimeError) as exc:
            raise BackendError(
                "the file with the tokens cannot be read",
                detail=str(exc),
                hint="restore STATE/tokens.db, or move it away",
            ) from exc
        yield SignIn(tokens=tokens, access=access, objects=objects, federation=federation)


async def federate(settings: Settings, access: Access, keys: Shelf, *, url: str) -> Federation | None:
    """None, with a line in the log, where the library for it is not installed. Raises `BackendError`."""
    try:
        ring = KeyRing(keys)
    except Unsupported as exc:
        _log.info("no single sign-on", reason=exc.message, hint=exc.hint)
        return None
    await ring.load()
    public = (settings.iam.public_url or url).rstrip("/")
    return Federation(access, ring, IssuerKeys(Fetcher()), url=public)
