"""The parts of Kubernetes objects that we read, as structs: small, since one stands in memory for each object.

Decoding ignores all other fields. What we write is built as plain dictionaries (`render`, `tenant`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

Manifest = dict[str, Any]
"""An object to be written, as JSON."""


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    uid: str = ""


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """`metadata` of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Object(msgspec.Struct, frozen=True):
    """Any object; all that a reflector must know."""

    metadata: Meta

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.annotations or {}


class Condition(msgspec.Struct, frozen=True):
    """A condition in a status."""

    type: str
    status: str = ""
    reason: str | None = None
    message: str | None = None


class NamespaceStatus(msgspec.Struct, frozen=True):
    """What a namespace that is being deleted still waits for."""

    conditions: tuple[Condition, ...] | None = None


class NamespaceObject(Object, frozen=True):
    """A namespace, a tenant or not."""

    status: NamespaceStatus | None = None


class FunctionObject(Object, frozen=True):
    """A Function (`openfaas.com/v1`); `spec` and `status` as JSON, since anybody may write them."""

    spec: Mapping[str, Any] = {}
    status: Mapping[str, Any] | None = None


class ProfileObject(Object, frozen=True):
    """A Profile (`openfaas.com/v1`)."""

    spec: Mapping[str, Any] | None = None


class DeploymentStatus(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    conditions: tuple[Condition, ...] | None = None


class Deployment(Object, frozen=True):
    """A Deployment. `spec` stays undecoded: only the check for drift looks at the whole of it."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: DeploymentStatus = DeploymentStatus()

    def __post_init__(self) -> None:
        # A decoded Raw is a view that would keep the whole page of the list alive.
        msgspec.structs.force_setattr(self, "spec", self.spec.copy())

    @property
    def replicas(self) -> int:
        """Desired; the API server fills in 1 where nothing is said."""
        return msgspec.json.decode(self.spec, type=_Replicas).replicas


class _Replicas(msgspec.Struct):
    replicas: int = 1


class Service(Object, frozen=True):
    """A Service. `spec` stays undecoded."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "spec", self.spec.copy())


class Piece(Object, frozen=True):
    """A quota, limits or a network policy. `spec` stays undecoded."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "spec", self.spec.copy())


class EndpointConditions(msgspec.Struct, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""
    uid: str = ""


class SliceEndpoint(msgspec.Struct, frozen=True, rename="camel"):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: ObjectReference | None = None


class SlicePort(msgspec.Struct, frozen=True):
    name: str | None = None
    port: int | None = None


class EndpointSlice(Object, frozen=True, rename="camel"):
    """Addresses of the Pods behind a Service; one Service may have several. At zero its lists are null."""

    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


class Waiting(msgspec.Struct, frozen=True):
    reason: str | None = None
    message: str | None = None


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Running(msgspec.Struct, frozen=True, rename="camel"):
    started_at: datetime | None = None


class ContainerState(msgspec.Struct, frozen=True):
    running: Running | None = None
    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    reason: str | None = None
    message: str | None = None
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class Pod(Object, frozen=True):
    """A Pod: enough to say why it is not ready, and where to read its log."""

    status: PodStatus = PodStatus()


class SecretObject(Object, frozen=True):
    """A Secret without its values."""

    type: str = ""


class ShelfObject(Object, frozen=True):
    """A Secret of the platform's own, with its values."""

    data: Mapping[str, str] | None = None
    """Base64."""

    def __repr__(self) -> str:
        return f"ShelfObject({self.metadata.name!r})"


class AccessObject(Object, frozen=True):
    """A JwtIssuer, Policy or Role (`iam.openfaas.com/v1`)."""

    spec: Mapping[str, Any] | None = None


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Object, frozen=True):
    """A Lease (`coordination.k8s.io/v1`)."""

    spec: LeaseSpec = LeaseSpec()
