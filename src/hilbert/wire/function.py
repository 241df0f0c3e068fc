"""Functions on the wire: deployments in, statuses out (`FunctionDeployment` and `FunctionStatus` of OpenFaaS).

The gateway writes what its client reads and the other way round: there is one struct for both. Everything but a name has
a default, since other gateways and other clients leave out what is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec


def _always() -> dict[str, str]:
    """An empty map that is written all the same: clients of OpenFaaS read labels and annotations without asking."""
    return {}


class ResourceAmounts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Limits or requests, in Kubernetes' text, e.g. `128Mi` and `100m`. Empty is no statement."""

    memory: str = ""
    cpu: str = ""
    nvidia: str = msgspec.field(name="nvidia.com/gpu", default="")
    amd: str = msgspec.field(name="amd.com/gpu", default="")
    intel: str = msgspec.field(name="intel.com/gpu", default="")


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """The desired state of a function. Applying it replaces the one before as a whole."""

    service: str = ""
    """The function's name. Needed."""
    image: str = ""
    """Needed."""
    namespace: str = ""
    """Empty: the gateway's default."""
    env_process: str = ""
    """Command of the function (`fprocess`)."""
    env_vars: Mapping[str, str] = {}
    constraints: Sequence[str] = ()
    secrets: Sequence[str] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=_always)
    annotations: Mapping[str, str] = msgspec.field(default_factory=_always)
    limits: ResourceAmounts | None = None
    requests: ResourceAmounts | None = None
    read_only_root_filesystem: bool = False


class DeleteFunction(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """`DeleteFunctionRequest`."""

    function_name: str = ""
    namespace: str = ""


class ScaleFunction(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """`ScaleServiceRequest`. The name in the path counts."""

    service_name: str = ""
    replicas: int | None = None
    namespace: str = ""


class UsageAmounts(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What all replicas use together."""

    cpu: float = 0.0
    """Thousandths of a core."""
    total_memory_bytes: float = 0.0


class CallTimeouts(msgspec.Struct, frozen=True, rename="camel"):
    """The limits on a call of a function, as Go durations; `0s` is no limit."""

    first_byte: str = ""
    idle: str = ""
    total: str = ""
    activation: str = ""


class FunctionDetail(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """What Hilbert's gateway adds to a function's status; other gateways do not."""

    phase: str = ""
    """`ready`, `starting`, `updating`, `idle` or `failed`."""
    reason: str = ""
    message: str = ""
    warnings: Sequence[str] = ()
    """What of the deployment has no effect or cannot be meant. Not in lists."""
    generation: int = 0
    ready_generation: int = 0
    placement: Mapping[str, str] = {}
    """How it really runs: `sandbox`, `memory-limit`, ..."""
    timeouts: CallTimeouts | None = None


class Function(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A function as the gateway shows it. Zero counters are left out, as Go leaves them."""

    name: str
    image: str = ""
    namespace: str = ""
    env_process: str = ""
    env_vars: Mapping[str, str] = {}
    constraints: Sequence[str] = ()
    secrets: Sequence[str] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=_always)
    annotations: Mapping[str, str] = msgspec.field(default_factory=_always)
    limits: ResourceAmounts | None = None
    requests: ResourceAmounts | None = None
    read_only_root_filesystem: bool = False
    invocation_count: float = 0
    """Finished calls. Whole, but other gateways write it as Go writes a float."""
    replicas: int = 0
    """Desired."""
    available_replicas: int = 0
    """Ready to be called."""
    created: str = msgspec.field(name="createdAt", default="")
    """RFC 3339, as precise as the gateway gives it."""
    usage: UsageAmounts | None = None
    hilbert: FunctionDetail | None = None

    @property
    def full_name(self) -> str:
        return f"{self.name}.{self.namespace}" if self.namespace else self.name

    @property
    def created_at(self) -> datetime | None:
        """The moment of `created`; None if the gateway does not say, or says what is no moment."""
        try:
            return msgspec.convert(self.created, datetime)
        except msgspec.ValidationError:
            return None
