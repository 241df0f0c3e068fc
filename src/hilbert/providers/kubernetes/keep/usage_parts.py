"""What namespaces have used, kept where it outlives every gateway: a Lease for each day and gateway.

Each process writes its own and never changes another's, so that nothing is overwritten and nothing is counted twice. What
is used is the sum over all of a day's.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import zlib
from collections.abc import Sequence
from typing import Final

import structlog

from hilbert.core.errors import BackendError, BackendUnavailable, QuotaExceeded
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import Lease, Manifest

_log = structlog.get_logger("hilbert.kubernetes.usage")

LABEL: Final = "com.hilbert.usage"
"""On a Lease: of which day."""
_DATA: Final = "com.hilbert.usage"
"""The annotation with what was used, compressed."""
_MOST_BYTES: Final = 200_000
"""Of the annotation; Kubernetes allows 256 KiB for all of an object. That is the use of some 5,000 namespaces."""
_MOST_UNPACKED: Final = 16 * 1024 * 1024


class UsageParts:
    """This process's parts, and the others'."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._mark = secrets.token_hex(8)
        """This process, and no other, ever."""

    async def keep(self, day: str, part: bytes) -> None:
        """Keep this process's part of a day, in place of what it kept before. Raises `QuotaExceeded` and `BackendError`."""
        text = base64.b64encode(zlib.compress(part)).decode()
        if len(text) > _MOST_BYTES:
            raise QuotaExceeded(f"what namespaces have used on {day} has no room in a Lease")
        name = f"hilbert-usage-{day}-{self._mark}"
        manifest: Manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {LABEL: day},
                "annotations": {_DATA: text},
            },
            "spec": {"holderIdentity": self._mark},
        }
        try:
            known = await self._api.find(kinds.LEASES, name, self._namespace)
            if known is None:
                await self._api.create(kinds.LEASES, manifest, self._namespace)
            else:
                manifest["metadata"]["resourceVersion"] = known.metadata.resource_version
                await self._api.replace(kinds.LEASES, manifest)
        except Unreachable as exc:
            raise BackendUnavailable("the cluster cannot be reached", detail=str(exc)) from exc
        except Refused as exc:
            raise BackendError(f"Lease {name}: {exc.message}") from exc

    async def others(self) -> Sequence[tuple[str, bytes]]:
        """Day and part of every other process. Raises `BackendError`."""
        found = []
        for lease in await self._all():
            day = (lease.metadata.labels or {}).get(LABEL, "")
            if lease.metadata.name.endswith(f"-{self._mark}") or not day:
                continue
            try:
                unpacker = zlib.decompressobj()
                part = unpacker.decompress(base64.b64decode(lease.annotations.get(_DATA, "")), _MOST_UNPACKED)
            except (binascii.Error, zlib.error) as exc:
                _log.warning("what namespaces have used cannot be read", lease=lease.metadata.name, reason=str(exc))
                continue
            found.append((day, part))
        return found

    async def forget(self, before: str) -> None:
        """Remove the parts of days before this one, whoever has written them. Raises `BackendError`."""
        for lease in await self._all():
            if (lease.metadata.labels or {}).get(LABEL, "9") < before:
                try:
                    await self._api.delete(kinds.LEASES, lease.metadata.name, self._namespace, uid=lease.metadata.uid)
                except (Refused, Unreachable) as exc:
                    raise BackendError(f"Lease {lease.metadata.name}: {exc}") from exc

    async def _all(self) -> Sequence[Lease]:
        try:
            return await self._api.every(kinds.LEASES, self._namespace, selector=LABEL)
        except Unreachable as exc:
            raise BackendUnavailable("the cluster cannot be reached", detail=str(exc)) from exc
        except Refused as exc:
            raise BackendError(f"Leases: {exc.message}") from exc
