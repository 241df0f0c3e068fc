"""Reflectors: a copy in memory of all objects of one kind, kept by one list and a watch that goes on from it.

What can go wrong, and what happens then:

- The watch ends, is refused or falls silent: it goes on from the last version seen, after a back-off (or Retry-After).
- The API server is away: it is tried about once a second, and the copy stays as it is meanwhile.
- The API server comes back and at first refuses everything (403 until it has read its roles): it is tried every two
  seconds at least for a minute. Only trouble that lasts longer is asked about every half minute.
- The version is too old (410): everything is listed again. What did not change makes no noise.
- Events come twice or in the wrong order: those older than what is known of their object are passed over.
- Events are lost: the next `resync` finds out.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from hilbert.core.values import whole_or
from hilbert.kit.aio import Clock, RealClock
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Status, Unreachable, advice
from hilbert.providers.kubernetes.cluster.kinds import Kind
from hilbert.providers.kubernetes.cluster.objects import Object

T = TypeVar("T", bound=Object)
Key = tuple[str, str]
"""Namespace and name; the namespace of a cluster-wide object is empty."""

_log = structlog.get_logger("hilbert.kubernetes.watch")

_PAGE: Final = 500
_WATCH_SECONDS: Final = 290
"""After this the API server ends a watch; the connection must not look dead before."""
_QUIET_SECONDS: Final = 150.0
"""Without a byte: API servers send a bookmark about every minute, and a dead connection must not be trusted for longer."""
_BEGINS: Final = 15.0
"""Seconds until a watch is answered at all, which an API server does at once: a server that hangs takes connections, too."""
_HEALTHY_SECONDS: Final = 5.0
_TOMBSTONES: Final = 4096
_PACE: Final = Pace(first=0.1, most=30.0, jitter=0.3)
_AWAY_MOST: Final = 1.0
"""Seconds between two tries while nothing answers: that costs a server which is away nothing, and its return shows soon."""
_REFUSED_MOST: Final = 2.0
_REFUSED_FOR: Final = 60.0
"""Seconds for which refusals may be those of a server that has just started."""
_YIELD_EVERY: Final = 200
_GONE: Final = 410


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Reflector(Generic[T]):
    """A live copy of the objects of one kind, in one namespace or all, that match a label selector.

    `on_change(key, old, new)` is called for each change, in the event loop; it must not fail and not block.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind[T],
        on_change: Callable[[Key, T | None, T | None], None],
        *,
        namespace: str = "",
        selector: str = "",
        fields: str = "",
        resync: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        """`fields` is a field selector, for one object by its name. `resync` is in seconds; 0 is never."""
        self.kind = kind
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set after the first full list, for ever."""
        self.failure: str = ""
        """Why the copy may be old now; empty when it is fresh."""
        self.advice: str = ""
        """What can be done about that."""
        self._api = api
        self._on_change = on_change
        self._selector = selector
        self._fields = fields
        self._resync = resync
        self._clock = clock or RealClock()
        self._objects: dict[Key, T] = {}
        self._graves: OrderedDict[str, int] = OrderedDict()
        self._version = ""
        self._highest = ""
        """The newest version that the server told, also when it can no longer be watched from."""
        self._listed_at = 0.0
        self._backoff = Backoff(_PACE, sleep=self._clock.sleep)
        self._refused_since: float | None = None
        self._expired = False
        """The last version was too old, and no watch has told anything since."""

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def get(self, key: Key) -> T | None:
        return self._objects.get(key)

    def observe(self, item: T) -> None:
        """Take in what an answer to one of our own writes said, before the watch tells it."""
        self._put(item)

    def forget(self, item: T) -> None:
        """Take in that we deleted `item`."""
        self._drop(item, _number(item.metadata.resource_version))

    async def run(self) -> None:
        """Keep the copy until cancelled."""
        self._api.on_return.append(self._backoff.answered)
        try:
            await self._keep()
        finally:
            self._api.on_return.remove(self._backoff.answered)

    async def _keep(self) -> None:
        while True:
            try:
                if not self._version or self._is_due():
                    await self._list()
                await self._watch()
            except (Refused, Unreachable) as exc:
                await self._recover(exc)
            except Exception as exc:  # noqa: BLE001 - a picture that stands still unseen is worse than any mistake here
                _log.error("watch failed", kind=str(self.kind), namespace=self.namespace, exc_info=True)
                self._version = ""
                await self._recover(Unreachable(f"{type(exc).__name__}: {exc}"))

    def _is_due(self) -> bool:
        return bool(self._resync) and self._clock.now() - self._listed_at >= self._resync

    async def _list(self) -> None:
        seen: dict[Key, T] = {}
        more, limit, version = "", _PAGE, ""
        while True:
            try:
                page = await self._api.page(
                    self.kind, self.namespace, selector=self._selector, fields=self._fields, limit=limit, more=more
                )
            except Refused as exc:
                if exc.code != _GONE or not limit:
                    raise
                # The token of the next page has expired: once more, in one piece.
                seen, more, limit = {}, "", 0
                continue
            for item in page.items:
                decoded = self._decode(item)
                if decoded is not None:
                    seen[_key(decoded)] = decoded
            version = page.version
            if not (more := page.more):
                break
            await asyncio.sleep(0)
        floor = _number(version)
        if floor < _number(self._highest):
            # The store was put back to an earlier state: what we know is of another life.
            self._graves.clear()
            self._forget_versions()
        for number, listed in enumerate(seen.values()):
            self._put(listed)
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        for key, known in list(self._objects.items()):
            # What one of our writes told after the list was taken is not missing, it is newer.
            if key not in seen and _number(known.metadata.resource_version) <= floor:
                self._drop(known, floor)
        self._version = self._highest = version
        self._listed_at = self._clock.now()
        self._fresh()
        self.synced.set()

    async def _watch(self) -> None:
        seconds = int(_WATCH_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load
        if self._resync:
            left = self._resync - (self._clock.now() - self._listed_at)
            seconds = max(1, min(seconds, int(left) + 1))
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
        }
        if self._selector:
            params["labelSelector"] = self._selector
        if self._fields:
            params["fieldSelector"] = self._fields
        began = self._clock.now()
        path, form = self.kind.path(self.namespace), self.kind.watch_form
        async with self._api.stream(path, params, quiet=_QUIET_SECONDS, begins=_BEGINS, accept=form) as lines:
            self.failure = ""
            async for line in lines:
                if line:
                    self._take(line)
        # A clean end is the ordinary one; a server that ends every watch at once must not be hammered.
        if self._clock.now() - began > _HEALTHY_SECONDS:
            self._expired = False
            self._backoff.succeeded()
        else:
            await self._backoff.wait(self._backoff.failed())

    def _take(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=_Event)
        except msgspec.MsgspecError as exc:
            raise Unreachable(f"an event that is no JSON: {exc}") from exc
        if event.type == "ERROR":
            raise Refused(msgspec.json.decode(event.object, type=Status))
        item = self._decode(event.object)
        if item is None:
            return
        self._fresh()
        self._expired = False
        if event.type == "DELETED":
            self._drop(item, _number(item.metadata.resource_version))
        elif event.type != "BOOKMARK":
            self._put(item)
        if _number(item.metadata.resource_version) > _number(self._version):
            self._version = self._highest = item.metadata.resource_version

    def _forget_versions(self) -> None:
        for key, known in self._objects.items():
            metadata = msgspec.structs.replace(known.metadata, resource_version="0")
            self._objects[key] = msgspec.structs.replace(known, metadata=metadata)

    def _put(self, item: T) -> None:
        key = _key(item)
        version = _number(item.metadata.resource_version)
        if self._graves.get(item.metadata.uid, -1) >= version:
            return
        known = self._objects.get(key)
        if known is not None and _number(known.metadata.resource_version) >= version:
            return
        self._objects[key] = item
        self._on_change(key, known, item)

    def _drop(self, item: T, version: int) -> None:
        uid = item.metadata.uid
        self._graves[uid] = max(version, self._graves.pop(uid, -1))
        if len(self._graves) > _TOMBSTONES:
            self._graves.popitem(last=False)
        key = _key(item)
        known = self._objects.get(key)
        if known is not None and known.metadata.uid == uid:
            if _number(known.metadata.resource_version) > version:
                return
            del self._objects[key]
            self._on_change(key, known, None)

    def _decode(self, raw: msgspec.Raw) -> T | None:
        """None for an object that cannot be read: it must not hide the others."""
        try:
            return self.kind.decode(raw)
        except msgspec.MsgspecError as exc:
            _log.warning("unreadable object", kind=str(self.kind), reason=str(exc))
            return None

    def _fresh(self) -> None:
        self.failure = ""
        self._refused_since = None
        self._backoff.succeeded()

    async def _recover(self, error: Refused | Unreachable) -> None:
        """Decide where to go on from, and wait."""
        self.failure, self.advice = str(error), advice(error)
        answered = isinstance(error, Refused)
        if isinstance(error, Refused):
            if error.code == _GONE:
                self._version = ""
                if not self._expired:
                    self._expired = True
                    return
            elif error.code in (400, 404):
                # 404: the kind's definition is not there, or went; 400: a version from another life of the server.
                self._version = ""
        if not answered:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = self._clock.now()
        most = _AWAY_MOST
        if self._refused_since is not None:
            is_new = self._clock.now() - self._refused_since < _REFUSED_FOR
            most = _REFUSED_MOST if is_new else _PACE.most
        delay = min(self._backoff.failed(answered=answered), most)
        if isinstance(error, Refused) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        failures = self._backoff.failures
        is_power_of_two = failures & (failures - 1) == 0
        log = _log.info if failures <= 1 else _log.warning if is_power_of_two else _log.debug
        log(
            "watch interrupted",
            kind=str(self.kind),
            namespace=self.namespace,
            reason=str(error),
            retry_in=delay,
            hint=self.advice,
        )
        await self._backoff.wait(delay)


def _key(item: Object) -> Key:
    return item.metadata.namespace, item.metadata.name


def _number(version: str) -> int:
    """Resource versions are whole numbers that grow (Kubernetes 1.35 promises it); anything else counts as oldest."""
    return whole_or(version, 0)
