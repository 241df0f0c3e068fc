"""Leadership by a Lease: of any number of gateways, one does what only one may do.

The holder renews its claim; the others watch the claim by their own clocks (the clocks of machines may differ) and take
it over when it has not changed for its whole duration. A holder that cannot renew stops leading before that.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from hilbert.kit.aio import Clock, RealClock, cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds, names
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import Lease, Manifest

_log = structlog.get_logger("hilbert.kubernetes.lease")

LEASE_NAME: Final = "hilbert"
_MOST_LASTING: Final = 60.0
"""Seconds for which a claim of others is believed at most."""
_LABELS: Final = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
_IDENTITY: Final = re.compile(r".+_[0-9]+_[0-9a-f]{8}")
"""Of a gateway; by it a Lease of a version is known that did not label it yet."""


class Leadership:
    """Tries to lead from `start` to `stop`. `stop` gives the claim back, so that another takes over at once."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        *,
        name: str = LEASE_NAME,
        duration: float = 15.0,
        identity: str = "",
        clock: Clock | None = None,
    ) -> None:
        """`duration` is in seconds; a third of it passes between two renewals."""
        self.foreign = ""
        """Why nobody can lead: the Lease is somebody else's. Empty when it is ours."""
        self.identity = identity or f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"
        self.on_change: list[Callable[[bool], None]] = []
        """Called when leading begins and ends. Must not fail."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._duration = max(duration, 1.0)
        self._clock = clock or RealClock()
        self._task: asyncio.Task[None] | None = None
        self._leads = False
        self._leading = asyncio.Event()
        self._renewed_at = 0.0
        self._seen = ("", "")
        self._seen_at = 0.0

    @property
    def leads(self) -> bool:
        """Whether this gateway leads now."""
        return self._leads and self._clock.now() - self._renewed_at < self._duration

    async def wait(self) -> None:
        """Until this gateway leads."""
        await self._leading.wait()

    def start(self) -> None:
        self._task = spawn(self._run(), name=f"lease {self._name}")

    async def stop(self) -> None:
        await cancel(self._task)
        self._task = None
        if self._leads:
            self._set(leads=False)
            try:
                await self._give_back()
            except (Refused, Unreachable) as exc:
                _log.info("lease not given back", reason=str(exc))

    async def _run(self) -> None:
        while True:
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that comes with the result.
                async with asyncio.timeout(self._duration * 2 / 3):
                    held = await self._claim()
            except (Refused, Unreachable, TimeoutError, msgspec.MsgspecError) as exc:
                _log.info("lease not renewed", reason=str(exc) or type(exc).__name__)
                # Nobody else can have it before the duration is over; two thirds leave room for the work under way.
                held = self._leads and self._clock.now() - self._renewed_at < self._duration * 2 / 3
            self._set(leads=held)
            await self._clock.sleep(self._duration / (3 if self._leads else 5))

    async def _claim(self) -> bool:
        began = self._clock.now()
        lease = await self._api.find(kinds.LEASES, self._name, self._namespace)
        if lease is None:
            return await self._write(None, began)
        spec = lease.spec
        if not _is_ours(lease):
            if not self.foreign:
                _log.warning("the lease is not ours", lease=self._name, holder=spec.holder_identity)
            self.foreign = (
                f"the Lease {self._name} in namespace {self._namespace} is not Hilbert's, so no gateway can lead; remove it: "
                f"kubectl --namespace {self._namespace} delete lease {self._name}"
            )
            return False
        self.foreign = ""
        mine = spec.holder_identity == self.identity
        if not mine and spec.holder_identity:
            seen = (lease.metadata.uid, lease.metadata.resource_version)
            if seen != self._seen:
                self._seen, self._seen_at = seen, began
            # Who holds it may have another setting; what somebody wrote by hand must not keep everybody out for ever.
            lasts = min(max(spec.lease_duration_seconds or self._duration, 1.0), max(_MOST_LASTING, self._duration))
            if began - self._seen_at < lasts:
                return False
        return await self._write(lease, began)

    async def _write(self, lease: Lease | None, began: float) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = lease is not None and lease.spec.holder_identity == self.identity
        transitions = (lease.spec.lease_transitions or 0) if lease is not None else 0
        manifest: Manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, "labels": _LABELS},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": max(1, round(self._duration)),
                "acquireTime": lease.spec.acquire_time if mine and lease is not None else now,
                "renewTime": now,
                "leaseTransitions": transitions if mine or lease is None else transitions + 1,
            },
        }
        try:
            if lease is None:
                await self._api.create(kinds.LEASES, manifest, self._namespace)
            else:
                manifest["metadata"]["resourceVersion"] = lease.metadata.resource_version
                await self._api.replace(kinds.LEASES, manifest)
        except Refused as exc:
            if exc.code == 409:
                return False
            raise
        self._renewed_at = began
        return True

    async def _give_back(self) -> None:
        lease = await self._api.get(kinds.LEASES, self._name, self._namespace)
        if lease.spec.holder_identity != self.identity:
            return
        manifest: Manifest = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "resourceVersion": lease.metadata.resource_version,
                "labels": _LABELS,
            },
            "spec": {"leaseDurationSeconds": 1, "leaseTransitions": lease.spec.lease_transitions or 0},
        }
        await self._api.replace(kinds.LEASES, manifest)

    def _set(self, *, leads: bool) -> None:
        if leads == self._leads:
            return
        self._leads = leads
        (self._leading.set if leads else self._leading.clear)()
        _log.info("leadership", leads=leads, identity=self.identity)
        for told in self.on_change:
            told(leads)


def _is_ours(lease: Lease) -> bool:
    holder = lease.spec.holder_identity
    return lease.labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY or (
        not lease.labels and (not holder or _IDENTITY.fullmatch(holder) is not None)
    )
