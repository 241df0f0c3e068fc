"""The nouns of the platform, as frozen structs: desired state (`...Spec`), observed state (`...Status`), routes.

Nothing here knows the wire (`hilbert.wire`) or a provider. Names are already parsed (`hilbert.core.values`).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from hilbert.core.errors import HilbertError, Invalid, InvalidSpec
from hilbert.core.limits import CallLimits
from hilbert.core.values import (
    Duration,
    FunctionRef,
    NamespaceName,
    Quantity,
    SecretName,
    parse_whole,
    whole_or,
)

LABEL_FUNCTION: Final = "faas_function"
"""Set by the platform on every function to its own name; clients read it back."""

LABEL_SCALE_MIN: Final = "com.openfaas.scale.min"
LABEL_SCALE_ZERO: Final = "com.openfaas.scale.zero"
LABEL_SCALE_MAX: Final = "com.openfaas.scale.max"
MOST_REPLICAS: Final = 999_999
"""The greatest count that a label of scaling may name; a greater one is ignored."""

ANNOTATION_NETWORK: Final = "com.hilbert.network"
"""On a namespace: `tenant` (the default), `none` or `host`. On a function: `none`, or what its namespace has."""

ANNOTATION_INGRESS: Final = "com.hilbert.ingress"
"""On a namespace: whose functions may call its functions at `http://gateway:8080`: `own` (the default) or `all`."""

ANNOTATION_ISOLATION: Final = "com.hilbert.isolation"
"""On a namespace: what must be promised of its replicas (`core.isolation`): `strict`, or names separated by commas."""

ANNOTATION_IDLE: Final = "com.hilbert.scale.idle"
"""On a function: `freeze` or `stop`, what becomes of its replicas at zero on one host."""
ANNOTATION_PROFILE: Final = "com.openfaas.profile"
"""On a function: the profiles that it chooses, with commas."""
ANNOTATION_PROFILES: Final = "com.hilbert.profiles"
"""On a namespace: profiles that all of its functions get, last and inescapably."""
ANNOTATION_PULL_SECRET: Final = "com.hilbert.pull-secret"  # noqa: S105 - a name
"""On a namespace or a function: the secret of that namespace with logins to registries of container images."""

ANNOTATION_MAX_INFLIGHT: Final = "com.hilbert.max-inflight"
"""On a function: calls that one replica takes at once; the rest wait in the gateway. 0 is no limit."""

ANNOTATION_QUEUE_LENGTH: Final = "com.hilbert.queue-length"
"""On a function: calls that may wait in one worker for a replica before 503."""

ANNOTATION_AUTH: Final = "com.hilbert.auth"
"""On a namespace or a function: `required` asks callers to prove that they may call it. Neither takes it from the other."""

ENV_AUTH: Final = "jwt_auth"
"""OpenFaaS's own way to say the same, in a function's environment: `true`."""

ANNOTATION_TIMEOUT_FIRST_BYTE: Final = "com.hilbert.timeout.first-byte"
ANNOTATION_TIMEOUT_IDLE: Final = "com.hilbert.timeout.idle"
ANNOTATION_TIMEOUT_TOTAL: Final = "com.hilbert.timeout.total"
ANNOTATION_TIMEOUT_ACTIVATION: Final = "com.hilbert.timeout.activation"

ANNOTATION_RESULTS: Final = "com.hilbert.async.results"
"""On a function or a namespace: how long the answers of queued calls are kept, e.g. `1h`. Not at all without it."""


class Resources(msgspec.Struct, frozen=True):
    """What a function may use (limits) or is promised (requests). None is no statement."""

    memory: Quantity | None = None
    """Bytes, e.g. `128Mi`."""
    cpu: Quantity | None = None
    """Cores, e.g. `0.5` or `500m`."""
    devices: Mapping[str, Quantity] = {}
    """Extended resources by name, e.g. `nvidia.com/gpu`. Kept on every provider; only Kubernetes allots them."""


class FunctionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state of a function. An update replaces it whole."""

    ref: FunctionRef
    image: str
    """As given, byte for byte; what it means is the provider's matter."""
    process: str = ""
    """Command of the function (`fprocess`); empty: the image's own."""
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    secrets: tuple[SecretName, ...] = ()
    constraints: tuple[str, ...] = ()
    limits: Resources | None = None
    requests: Resources | None = None
    read_only_root: bool = False


class ScalingPolicy(msgspec.Struct, frozen=True):
    """Bounds on the replica count, from the labels `com.openfaas.scale.*`."""

    min: int = 1
    max: int = 20

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> ScalingPolicy:
        """Values that are not positive whole numbers are ignored, as OpenFaaS does."""
        low = whole_or(labels.get(LABEL_SCALE_MIN), 1, least=1, most=MOST_REPLICAS)
        high = whole_or(labels.get(LABEL_SCALE_MAX), 20, least=1, most=MOST_REPLICAS)
        return cls(min=low, max=max(low, high))


class Phase(enum.StrEnum):
    """What a function is doing now, in one word."""

    READY = "ready"
    """At least one replica of the current generation answers."""
    STARTING = "starting"
    UPDATING = "updating"
    """An older generation answers while the current one starts."""
    IDLE = "idle"
    """Scaled to zero by wish; the next call wakes it."""
    FAILED = "failed"
    """The current generation does not come up; `reason` and `message` say why. Still retried, with back-off."""


class Usage(msgspec.Struct, frozen=True):
    """What all replicas use together."""

    cpu_millis: float
    memory_bytes: float


class CpuTime(msgspec.Struct, frozen=True):
    """What one replica has used since it was started."""

    ref: FunctionRef
    replica: str
    """Its name, which no other replica ever has."""
    seconds: float
    ended: bool = False


class FunctionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The observed state of a function, with the spec it was observed against."""

    spec: FunctionSpec
    replicas: int
    """Desired."""
    available: int
    """Ready to be called, of any generation."""
    created_at: datetime
    generation: int
    """Counts the specs applied to this function, from 1."""
    ready_generation: int = 0
    """The newest generation with a ready replica; 0 before the first."""
    phase: Phase = Phase.STARTING
    reason: str = ""
    """A fixed CamelCase word when something is wrong: `CrashLoop`, `ProbeFailing`, `ImageUnavailable`, ..."""
    message: str = ""
    """One public sentence for `reason`."""
    placement: Mapping[str, str] = {}
    """How it really runs: `provider`, `runtime`, `sandbox`, `network`, `egress`, `memory-limit`, `cpu-limit`, ..."""
    usage: Usage | None = None


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant. `labels` and `annotations` are replaced whole on update."""

    name: NamespaceName
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    created_at: datetime | None = None


class Secret(msgspec.Struct, frozen=True):
    """A secret with its value. Its `repr` never shows the value."""

    namespace: NamespaceName
    name: SecretName
    value: bytes

    def __repr__(self) -> str:
        return f"Secret({self.namespace}/{self.name}, {len(self.value)} bytes)"


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which log lines of a function are wanted."""

    ref: FunctionRef
    instance: str = ""
    """Only this replica; empty: all."""
    since: datetime | None = None
    """With a time zone."""
    tail: int = 0
    """At most this many of the newest lines; 0 is no limit."""
    follow: bool = False
    call_id: str = ""
    """Only lines that `takes` takes for lines of this call; empty: all."""

    def takes(self, call_id: str, text: str) -> bool:
        """Whether the line `text`, which the call `call_id` wrote, is of the call that is asked for.

        Where `call_id` is empty nothing says who wrote the line, and it is taken if it names the call as a whole word:
        programs of container images are other people's, and may print the header `X-Call-Id`.
        """
        if not self.call_id or call_id:
            return self.call_id in ("", call_id)
        return self.call_id in text and re.search(rf"(?<![\w-]){re.escape(self.call_id)}(?![\w-])", text) is not None


class LogLine(msgspec.Struct, frozen=True):
    """One line that a replica wrote."""

    ref: FunctionRef
    instance: str
    timestamp_ns: int
    """Unix time in nanoseconds."""
    text: str
    """Without the newline."""
    call_id: str = ""
    """The call that wrote it, as the function's own watchdog says; empty if none did, or none is known."""


class Endpoint(msgspec.Struct, frozen=True, array_like=True):
    """The address at which one ready replica answers HTTP/1.1."""

    replica: str
    """Unique among all replicas, ever."""
    address: str
    """`unix:/absolute/path`, `tcp:IP:PORT`, or `inside:PATH:REPLICA:PORT` for a port of the replica's own loopback, with sockets from PATH."""


class StartFault(msgspec.Struct, frozen=True, array_like=True):
    """Why a function is known not to start. It is tried again and again all the same."""

    reason: str
    """As `FunctionStatus.reason`."""
    message: str
    """One sentence without anything that the function wrote: whoever may call it reads this."""


class EndpointSet(msgspec.Struct, frozen=True):
    """All that the routing needs of one function, whole (a level, not an edge)."""

    ref: FunctionRef
    spec: FunctionSpec | None
    """None: the function is gone."""
    endpoints: tuple[Endpoint, ...] = ()
    namespace_annotations: Mapping[str, str] = {}
    fault: StartFault | None = None
    """Given only while there is no endpoint."""


class Synced(msgspec.Struct, frozen=True):
    """Marks that every `EndpointSet` of the first full pass has been given."""


class CallPolicy(msgspec.Struct, frozen=True, array_like=True):
    """The limits on a call, as the data plane applies them. Times are in seconds; 0 is no limit.

    The defaults are those of the settings, which take them from here.
    """

    first_byte: float = 60.0
    """From the request's last byte sent to the response's head."""
    idle: float = 300.0
    """Between two bytes of a body, either way, once the response has begun."""
    total: float = 0.0
    """The whole call."""
    activation: float = 60.0
    """Waiting for a replica: a cold start, or a free place under `max_inflight`."""
    max_inflight: int = 0
    """Calls at once at one replica."""
    queue_length: int = 2048
    """Calls waiting for a replica, per worker."""


class Route(msgspec.Struct, frozen=True, array_like=True):
    """One line of the route table."""

    namespace: str
    name: str
    endpoints: tuple[Endpoint, ...] = ()
    policy: CallPolicy = CallPolicy()
    limits: CallLimits | None = None
    """Of the function."""
    namespace_limits: CallLimits | None = None
    """Of its namespace, whose functions share them."""
    open: bool = False
    """Functions of other namespaces may call it at `http://gateway:8080`."""
    guarded: bool = False
    """Its callers must prove that they may call it."""
    fault: StartFault | None = None
    """Calls are refused with it instead of waiting for a replica."""
    scheduled: bool = False
    """The gateway calls it at set times itself, so that those of a cron-connector are not made."""
    weight: float = 1.0
    """Of its namespace, against others where there is not enough for all."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def duration_annotation(annotations: Mapping[str, str], key: str, default: Duration) -> Duration:
    """The duration under `key`, or `default`. Raises `Invalid`, naming the key."""
    text = annotations.get(key)
    if text is None:
        return default
    try:
        return Duration.parse(text, bare_seconds=True)
    except HilbertError as exc:
        raise InvalidSpec(f"annotation {key}: {exc.message}") from exc


def count_annotation(annotations: Mapping[str, str], key: str, default: int) -> int:
    """The whole number from 0 to 1,000,000 under `key`, or `default`. Raises `InvalidSpec`, naming the key."""
    text = annotations.get(key)
    if text is None:
        return default
    try:
        return parse_whole(text, most=1_000_000)
    except Invalid as exc:
        raise InvalidSpec(f"annotation {key}: must be a whole number from 0 to 1000000") from exc
