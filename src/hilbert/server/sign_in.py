"""Who can get into this gateway: its tokens, and those of identity providers, put together for where they are kept."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from hilbert.core.access import Document, parse_document
from hilbert.core.errors import BackendError, HilbertError, Invalid, Unsupported
from hilbert.core.ports import Provider, SharedShelves, Shelf
from hilbert.core.settings import Settings
from hilbert.iam.access import Access
from hilbert.iam.access_store import AccessStore
from hilbert.iam.federation import Federation
from hilbert.iam.fetch import Fetcher
from hilbert.iam.issuer_keys import IssuerKeys
from hilbert.iam.signing import KeyRing
from hilbert.iam.token_store import TokenStore
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff

_NOTED_EVERY: Final = timedelta(minutes=10)
"""How often the use of a token is noted in a cluster, where each note is a write to its API server."""
_PACE: Final = Pace(first=1.0, most=30.0, jitter=0.3)
_log = structlog.get_logger("hilbert.control")


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """What a control process knows of tokens. All None where there is no place to keep them."""

    tokens: TokenStore | None = None
    access: Access | None = None
    objects: AccessStore | None = None
    federation: Federation | None = None


@contextlib.asynccontextmanager
async def running_sign_in(settings: Settings, provider: Provider, *, url: str) -> AsyncIterator[SignIn]:
    """`url` is where the gateway listens. Raises `HilbertError` when what is kept cannot be read."""
    if isinstance(provider, SharedShelves):
        async with _shared(provider, settings, url) as found:
            yield found
        return
    if settings.provider.name != "host":
        yield SignIn()
        return
    from hilbert.iam.sqlite_shelf import SqliteShelves

    with contextlib.ExitStack() as stack:
        path = Path(settings.paths.state_dir) / "tokens.db"
        try:
            shelves = SqliteShelves(path)
            stack.callback(shelves.close)
            tokens = TokenStore(shelves.shelf("tokens"))
            await tokens.load()
            access = Access()
            objects = AccessStore(shelves.shelf("access"), access)
            await objects.load()
            federation = await federate(settings, access, shelves.shelf("issuing_keys"), url=url)
            if federation is not None:
                federation.objects_changed()
        except (sqlite3.Error, OSError, RuntimeError) as exc:
            raise BackendError(
                f"{path}, which holds the tokens, keys and policies, cannot be used: {exc}",
                hint="stop the platform, move the file away with its -wal and -shm, and restore a backup of it; "
                "without one, it starts with no tokens, and they must be made anew",
            ) from exc
        yield SignIn(tokens=tokens, access=access, objects=objects, federation=federation)


@contextlib.asynccontextmanager
async def _shared(provider: SharedShelves, settings: Settings, url: str) -> AsyncIterator[SignIn]:
    """Where several gateways share them. Does not wait for the cluster: until it has been read, tokens are not known."""
    tokens, access = TokenStore(provider.shelf("tokens"), note_every=_NOTED_EVERY), Access()
    federation = await federate(settings, access, provider.shelf("issuing_keys"), url=url, wait=False)

    def take(manifests: Sequence[Mapping[str, Any]]) -> None:
        found: list[Document] = []
        for one in manifests:
            try:
                found.append(parse_document(dict(one)))
            except Invalid as exc:
                _log.warning("an invalid object is ignored", reason=exc.message)
        access.replace(found)
        if federation is not None:
            federation.objects_changed()

    provider.watch_access(take)

    async def load() -> None:
        await tokens.load()
        if federation is not None:
            await retried(federation.ring.load, what="the signing keys")

    loading = spawn(load(), name="read tokens and keys")
    try:
        yield SignIn(tokens=tokens, access=access, federation=federation)
    finally:
        await cancel(loading)


async def retried(work: Callable[[], Awaitable[None]], *, what: str) -> None:
    """Until it succeeds: the installation may not be whole yet."""
    backoff = Backoff(_PACE)
    while True:
        try:
            await work()
        except HilbertError as exc:
            _log.warning(f"cannot read {what} yet", reason=exc.message, detail=exc.detail, hint=exc.hint)
            await backoff.wait(backoff.failed())
        else:
            return


async def federate(
    settings: Settings, access: Access, keys: Shelf, *, url: str, wait: bool = True
) -> Federation | None:
    """None, with a line in the log, where the library for it is not installed. Raises `BackendError`."""
    try:
        ring = KeyRing(keys)
    except Unsupported as exc:
        _log.info("no single sign-on", reason=exc.message, hint=exc.hint)
        return None
    if wait:
        await ring.load()
    public = (settings.iam.public_url or url).rstrip("/")
    return Federation(access, ring, IssuerKeys(Fetcher(service_account=_service_account())), url=public)


def _service_account() -> Path | None:
    """The Pod's, inside a cluster."""
    folder = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    return folder if (folder / "token").is_file() else None
