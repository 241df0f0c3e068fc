"""What the REST API takes and gives, for users of the client.

Field names are Python's; on the wire they are OpenFaaS's. Answers are read tolerantly: `null` maps are empty, unknown
fields are passed over, absent counters are zero, since other gateways than ours answer too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec


class ResourceAmounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Limits or requests, in Kubernetes' text, e.g. `128Mi` and `100m`. Empty is no statement."""

    memory: str = ""
    cpu: str = ""
    nvidia: str = msgspec.field(name="nvidia.com/gpu", default="")
    amd: str = msgspec.field(name="amd.com/gpu", default="")
    intel: str = msgspec.field(name="intel.com/gpu", default="")


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state of a function. Applying it replaces the one before as a whole."""

    service: str
    """The function's name."""
    image: str
    namespace: str = ""
    """Empty: the gateway's default."""
    env_process: str = ""
    """Command of the function (`fprocess`)."""
    env_vars: Mapping[str, str] = {}
    constraints: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    limits: ResourceAmounts | None = None
    requests: ResourceAmounts | None = None
    read_only_root_filesystem: bool = False

    def to_wire(self) -> dict[str, object]:
        """As OpenFaaS's own clients write it: maps of labels and annotations always, the rest when it says something."""
        document: dict[str, object] = {"service": self.service, "image": self.image}
        optional: dict[str, object] = {
            "namespace": self.namespace,
            "envProcess": self.env_process,
            "envVars": dict(self.env_vars),
            "constraints": self.constraints,
            "secrets": self.secrets,
        }
        document |= {key: value for key, value in optional.items() if value}
        document |= {"labels": dict(self.labels), "annotations": dict(self.annotations)}
        for key, amounts in (("limits", self.limits), ("requests", self.requests)):
            if amounts is not None and amounts != ResourceAmounts():
                document[key] = amounts
        if self.read_only_root_filesystem:
            document["readOnlyRootFilesystem"] = True
        return document


class Accepted(msgspec.Struct, frozen=True):
    """The gateway has promised to carry a deployment out."""

    created: bool
    """False: a function of that name was updated."""
    status: int
    """HTTP status: 202, or 200 of some gateways."""


class UsageAmounts(msgspec.Struct, frozen=True, rename="camel"):
    """What all replicas use together."""

    cpu: float = 0.0
    """Thousandths of a core."""
    total_memory_bytes: float = 0.0


class FunctionDetail(msgspec.Struct, frozen=True, rename="camel"):
    """What Hilbert's gateway adds to a function's status; other gateways do not."""

    phase: str = ""
    """`ready`, `starting`, `updating`, `idle` or `failed`."""
    reason: str = ""
    message: str = ""
    generation: int = 0
    ready_generation: int = 0
    placement: Mapping[str, str] | None = None
    """How it really runs: `sandbox`, `memory-limit`, ..."""
    timeouts: Mapping[str, str] | None = None
    """The limits on a call: `firstByte`, `idle`, `total`, `activation`, as Go durations."""


class Function(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A function as the gateway shows it."""

    name: str
    image: str = ""
    namespace: str = ""
    env_process: str = ""
    env_vars: Mapping[str, str] | None = None
    constraints: tuple[str, ...] | None = None
    secrets: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    limits: ResourceAmounts | None = None
    requests: ResourceAmounts | None = None
    read_only_root_filesystem: bool = False
    replicas: int = 0
    """Desired."""
    available_replicas: int = 0
    """Ready to be called."""
    invocation_count: float = 0.0
    created_at: datetime | None = None
    usage: UsageAmounts | None = None
    hilbert: FunctionDetail | None = None

    @property
    def full_name(self) -> str:
        return f"{self.name}.{self.namespace}" if self.namespace else self.name


class NamespaceInfo(msgspec.Struct, frozen=True):
    """A namespace with its labels and annotations."""

    name: str
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


class SecretInfo(msgspec.Struct, frozen=True):
    """A secret's name. Values never leave the gateway."""

    name: str
    namespace: str = ""


class LogMessage(msgspec.Struct, frozen=True):
    """One line that a replica wrote."""

    name: str = ""
    namespace: str = ""
    instance: str = ""
    """The replica."""
    timestamp: str = ""
    """RFC 3339, as precise as the gateway gives it."""
    text: str = ""
    """With its newline, if the gateway keeps it."""


class VersionInfo(msgspec.Struct, frozen=True):
    """A release and the commit it was made from."""

    release: str = ""
    sha: str = ""
    commit_message: str = ""


class ProviderInfo(msgspec.Struct, frozen=True):
    """What runs the functions."""

    provider: str = ""
    orchestration: str = ""
    version: VersionInfo = VersionInfo()


class GatewayInfo(msgspec.Struct, frozen=True):
    """`/system/info`."""

    provider: ProviderInfo = ProviderInfo()
    version: VersionInfo = VersionInfo()
    arch: str = ""
    hilbert: Mapping[str, str] | None = None
    """What Hilbert's gateway adds, e.g. the sandbox."""


class Invocation(msgspec.Struct, frozen=True):
    """The answer of a function, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def call_id(self) -> str:
        """Names this call in logs; empty when the gateway gave none."""
        return self.headers.get("x-call-id", "")

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as UTF-8, with what is not UTF-8 replaced."""
        return self.body.decode("utf-8", "replace")
