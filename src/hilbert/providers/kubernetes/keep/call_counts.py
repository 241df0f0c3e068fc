"""Counts of finished calls, shared among gateways, so that each can show the sum.

Each gateway writes its own counts into a Lease of its own, with the time of its last word, and reads those of the others.
A gateway that has not renewed its Lease for long is gone: its Lease is removed and its counts are no longer shown.
At most one write and one read in `_EVERY` seconds, however many calls there are.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from hilbert.core.errors import Invalid
from hilbert.core.ports import Counted
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import Lease, Manifest

_log = structlog.get_logger("hilbert.kubernetes.counts")

LABEL: Final = "com.hilbert.counts"
"""On a Lease that holds counts."""
_COUNTS: Final = "com.hilbert.counts"
"""The annotation with the counts, as JSON: `NAME.NAMESPACE` to the numbers of `Counted`."""
_EVERY: Final = 3.0
_RENEW: Final = 30.0
"""Seconds after which counts that have not changed are written again, to show that the gateway is there."""
_GONE: Final = 120.0
"""Seconds without a new word after which a gateway counts as gone, by the reader's own clock."""
_MOST_BYTES: Final = 200_000
"""Of the annotation; Kubernetes allows 256 KiB for all of an object. The functions with the fewest calls are left out, those without any under way first."""


class CallCounts:
    """Shares what `start` is given to read. `stop` takes this gateway's counts back."""

    def __init__(self, api: Api, namespace: str, *, identity: str, clock: Clock) -> None:
        self._api = api
        self._namespace = namespace
        self._name = f"hilbert-counts-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        self._identity = identity
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._lease: Lease | None = None
        self._written = ""
        self._written_at = 0.0
        self._others: Mapping[str, Counted] = {}
        self._moved: set[str] = set()
        self._seen: dict[str, tuple[str, float]] = {}
        """Of each other Lease: its version, and when that was first seen."""
        self._failing = False

    def start(self, read: Callable[[], Mapping[FunctionRef, Counted]]) -> None:
        """`read` gives this gateway's own counts."""
        self._task = spawn(self._share(read), name="call counts")

    async def stop(self) -> None:
        if self._task is None:
            return
        await cancel(self._task)
        self._task = None
        if self._lease is not None:
            await self._remove(self._lease)

    def elsewhere(self, ref: FunctionRef) -> Counted:
        """Calls of a function by the other gateways, some seconds old."""
        return self._others.get(str(ref), Counted())

    def take_moved(self) -> set[FunctionRef]:
        """Functions whose counts have changed since this was last asked, or that have calls under way elsewhere."""
        moved = self._moved | {name for name, counts in self._others.items() if counts.inflight}
        self._moved = set()
        return {ref for name in moved if (ref := _ref(name)) is not None}

    async def _share(self, read: Callable[[], Mapping[FunctionRef, Counted]]) -> None:
        while True:
            try:
                await self._write(read())
                await self._read()
            except (Refused, Unreachable) as exc:
                if not self._failing:
                    _log.warning("counts of calls are this gateway's own for now", reason=str(exc))
                self._failing = True
                self._lease = None
            else:
                self._failing = False
            await self._clock.sleep(_EVERY)

    async def _write(self, counts: Mapping[FunctionRef, Counted]) -> None:
        text, now = _rendered(counts), self._clock.now()
        if self._lease is not None and text == self._written and now - self._written_at < _RENEW:
            return
        manifest: Manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {LABEL: "true"},
                "annotations": {_COUNTS: text},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(_GONE),
                "renewTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            },
        }
        known = self._lease or await self._api.find(kinds.LEASES, self._name, self._namespace)
        if known is None:
            self._lease = await self._api.create(kinds.LEASES, manifest, self._namespace)
        else:
            manifest["metadata"]["resourceVersion"] = known.metadata.resource_version
            self._lease = await self._api.replace(kinds.LEASES, manifest)
        self._written, self._written_at = text, now

    async def _read(self) -> None:
        now = self._clock.now()
        sums: dict[str, Counted] = {}
        seen: dict[str, tuple[str, float]] = {}
        for lease in await self._api.every(kinds.LEASES, self._namespace, selector=LABEL):
            name, version = lease.metadata.name, lease.metadata.resource_version
            if name == self._name:
                continue
            before = self._seen.get(name)
            since = before[1] if before is not None and before[0] == version else now
            if now - since >= _GONE:
                await self._remove(lease)
                continue
            seen[name] = (version, since)
            for key, count in _read_counts(lease).items():
                sums[key] = sums.get(key, Counted()) + count
        self._moved |= {key for key in sums.keys() | self._others.keys() if sums.get(key) != self._others.get(key)}
        self._others, self._seen = sums, seen

    async def _remove(self, lease: Lease) -> None:
        try:
            await self._api.delete(kinds.LEASES, lease.metadata.name, self._namespace, uid=lease.metadata.uid)
        except (Refused, Unreachable) as exc:
            _log.info("counts of a gateway that is gone stay for now", lease=lease.metadata.name, reason=str(exc))


def _rendered(counts: Mapping[FunctionRef, Counted]) -> str:
    """The same counts give the same text, within `_MOST_BYTES`."""
    kept = {}
    size = 2
    given = ((count.inflight > 0, count.started, str(ref), count) for ref, count in counts.items() if count.started)
    for _, _, name, count in sorted(given, key=lambda one: one[:3], reverse=True):
        size += len(name) + len(msgspec.json.encode(count)) + 4
        if size > _MOST_BYTES:
            break
        kept[name] = count
    return msgspec.json.encode(kept, order="sorted").decode()


def _read_counts(lease: Lease) -> Mapping[str, Counted]:
    """Nothing from one that cannot be read."""
    try:
        return msgspec.json.decode(lease.annotations.get(_COUNTS, "{}"), type=dict[str, Counted])
    except msgspec.MsgspecError:
        return {}


def _ref(name: str) -> FunctionRef | None:
    try:
        return FunctionRef.parse(name)
    except Invalid:
        return None
