"""The log of all changes in NATS JetStream, and the snapshots that stand for its beginning.

Servers must run with `sync_interval: always`: by default they acknowledge what they sync minutes later
(https://docs.nats.io/running-a-nats-service/configuration, jetstream).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from hilbert.core.errors import BackendUnavailable, StorageFull
from hilbert.queues.jetstream.connection import OneConnection

_OLDEST: Final = (2, 10)
"""The first version that knows `sync_interval: always`."""
_SLACK: Final = 4096
"""Bytes of an entry's headers and frame."""
_PATIENCE: Final = 10.0
"""Seconds for which an append is tried: a server that restarts, or a new leader, takes a few."""
_TRY: Final = 3.0
_PAUSE: Final = 0.1
_RECONNECT: Final = 0.25
"""Seconds between two tries of one server."""
_DUPLICATES: Final = 600.0
"""Seconds in which NATS knows an entry again that was sent twice. Longer than one is tried."""
_FULL: Final = frozenset({10023, 10047, 10077})
"""JetStream's error codes for what has no room (nats-server's errors.json): memory or disk, account, stream."""
_AT_ONCE: Final = 64
"""Entries asked for at once."""

_log = structlog.get_logger("hilbert.queue")


class Purged(Exception):
    """The entry is no longer there: a newer snapshot stands for it."""


class Log:
    """Use `connect`."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._stream = client.jetstream(timeout=_TRY)
        self._name = name
        self.bytes = 0
        """Size of the log when it was last asked about."""

    @classmethod
    async def connect(cls, url: str, *, name: str, replicas: int = 1) -> Log:
        """Connect, and make the log where there is none. `url` may name several servers, with commas, and carry a user and password.

        Raises `BackendUnavailable`.
        """
        client = Client()
        if not url.startswith("ws"):
            client._transport = OneConnection()  # noqa: SLF001 - it cannot be given one otherwise
        log = cls(client, name)
        with _told():
            try:
                # The client leaves connections open when a first one fails and it tries again by itself.
                options: dict[str, Any] = {"allow_reconnect": False, "error_cb": _heard, "name": f"hilbert {name}"}
                again: dict[str, Any] = {"max_reconnect_attempts": -1, "reconnect_time_wait": _RECONNECT}
                async with asyncio.timeout(_PATIENCE):
                    await client.connect(url.split(","), **options, **again)
                client.options["allow_reconnect"] = True
                await log._make(replicas)
            except BaseException:
                await client.close()
                raise
        return log

    async def _make(self, replicas: int) -> None:
        version = self._client.connected_server_version
        if (version.major, version.minor) < _OLDEST:
            raise BackendUnavailable(
                f"the queue's NATS is {version}, which cannot sync before it acknowledges",
                hint="use version 2.10 or newer, with sync_interval: always",
            )
        config = StreamConfig(
            name=self._name,
            subjects=[self._name],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            num_replicas=replicas,
            duplicate_window=_DUPLICATES,
            deny_delete=True,
        )
        try:
            await self._stream.stream_info(self._name)
        except nats.js.errors.NotFoundError:
            await self._stream.add_stream(config)
        try:
            self._snapshots = await self._stream.object_store(f"{self._name}-snapshots")
        except nats.js.errors.NotFoundError:
            self._snapshots = await self._stream.create_object_store(
                f"{self._name}-snapshots", storage=StorageType.FILE, replicas=replicas
            )

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and made again."""
        made: int = self._client.stats["reconnects"]
        return made

    @property
    def most(self) -> int:
        """Bytes of an entry, at most: what the servers take as one message."""
        most: int = self._client.max_payload
        return most - _SLACK

    async def append(self, entry: bytes, name: str) -> int:
        """Add an entry; its number, once it is on the servers' disks. An entry of the same name is not added again.

        Raises `StorageFull`, with nothing changed, and `BackendUnavailable` when nobody has answered for some time:
        then it may be there or not, and whoever reads on will see.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                with _told():
                    done = await self._stream.publish(
                        self._name, entry, stream=self._name, headers={"Nats-Msg-Id": name}, timeout=_TRY
                    )
                    number: int = done.seq
                    return number
            except BackendUnavailable:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(_PAUSE)

    async def last(self) -> int:
        """The number of the newest entry; 0 before the first. Raises `BackendUnavailable`."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                with _told():
                    state = (await self._stream.stream_info(self._name)).state
                    self.bytes = state.bytes
                    number: int = state.last_seq
                    return number
            except BackendUnavailable:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(_PAUSE)

    async def read(self, first: int, end: int) -> Sequence[bytes]:
        """Entries from `first` to before `end`, or the first of them if there are many. Raises `Purged` and `BackendUnavailable`."""
        numbers = range(first, min(end, first + _AT_ONCE))
        return await asyncio.gather(*(self._get(number) for number in numbers))

    async def _get(self, number: int) -> bytes:
        with _told():
            try:
                found = await self._stream.get_msg(self._name, number)
            except nats.js.errors.NotFoundError as exc:
                raise Purged from exc
        return found.data or b""

    async def newest_snapshot(self, into: Path) -> int:
        """Fetch it; the entry that it stands for, 0 when there is none and no file is written."""
        with _told():
            number = max(await self._numbers(), default=0)
            if number:
                with into.open("wb") as file:
                    await self._snapshots.get(str(number), writeinto=file)
            return number

    async def keep_snapshot(self, path: Path, number: int) -> None:
        """Keep a snapshot, then forget what it stands for: entries up to its own, and older snapshots."""
        with _told():
            with path.open("rb") as file:
                await self._snapshots.put(str(number), file)
            await self._stream.purge_stream(self._name, seq=number + 1)
            for older in await self._numbers():
                if older < number:
                    await self._snapshots.delete(str(older))

    async def _numbers(self) -> list[int]:
        try:
            return [int(info.name) for info in await self._snapshots.list() if info.name and not info.deleted]
        except nats.js.errors.NotFoundError:
            return []

    async def remove(self) -> None:
        """Remove the log and all snapshots, as a test does."""
        with _told():
            await self._stream.delete_stream(self._name)
            await self._stream.delete_object_store(f"{self._name}-snapshots")

    async def close(self) -> None:
        """Idempotent."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._client.close()


async def _heard(error: Exception) -> None:
    _log.info("the connection to NATS", reason=str(error) or type(error).__name__)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the client says into the errors of the domain."""
    try:
        yield
    except nats.js.errors.APIError as exc:
        if exc.err_code in _FULL:
            raise StorageFull("NATS has no room for the queue: nothing was changed", detail=str(exc)) from exc
        raise BackendUnavailable("the queue's NATS server refused the request", detail=str(exc)) from exc
    except (TimeoutError, nats.errors.Error, OSError) as exc:
        raise BackendUnavailable(
            "the queue's NATS does not answer", detail=str(exc) or type(exc).__name__, hint="try again"
        ) from exc
