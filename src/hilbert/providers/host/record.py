"""What the host provider has promised and started, as it stands in its database."""

from __future__ import annotations

from datetime import datetime

import msgspec

from hilbert.core.model import FunctionSpec, Namespace
from hilbert.core.ports import Handle
from hilbert.core.values import Duration


class TenantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace. `number` is never given again, so that a namesake made later shares nothing with this one."""

    number: int
    namespace: Namespace


class FunctionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A function. `uid` tells it from one of the same name that was removed before."""

    uid: int
    tenant: int
    spec: FunctionSpec
    replicas: int
    generation: int
    pin: str
    """What the image meant when this generation was applied; the runtime's own text."""
    created_at: datetime
    secret_stamps: str = ""
    """Which values its secrets had then: a stamp changes with each."""


class ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that was started, or was about to be."""

    handle: Handle
    uid: int
    """Of its function."""
    revision: str
    """What it was started from, as `Revision` prints it."""
    grace: Duration
    """Most time for its calls when it is told to stop."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as read at start."""

    tenants: tuple[TenantRecord, ...]
    functions: tuple[FunctionRecord, ...]
    replicas: tuple[ReplicaRecord, ...]
