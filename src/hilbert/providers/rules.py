"""What every provider decides alike: what it refuses before it promises anything, and how many replicas it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.errors import Forbidden, Invalid, InvalidSpec, ReservedNamespace
from hilbert.core.isolation import Promise, parse_promises
from hilbert.core.model import (
    ANNOTATION_IDLE,
    ANNOTATION_INGRESS,
    ANNOTATION_ISOLATION,
    ANNOTATION_NETWORK,
    ANNOTATION_PROFILE,
    ANNOTATION_PROFILES,
    ANNOTATION_PULL_SECRET,
    LABEL_SCALE_MIN,
    MOST_REPLICAS,
    FunctionSpec,
    Namespace,
    ScalingPolicy,
)
from hilbert.core.network import ANNOTATION_EGRESS, Egress, NetworkKind, NetworkUse
from hilbert.core.values import RESERVED_NAMESPACES, SecretName, parse_secret_name, whole_or
from hilbert.providers import quota

_NETWORKS: Final = tuple(NetworkKind)
GVISOR: Final = "gvisor"
"""The profile that one host has: `runtimeClassName: gvisor` in the words of Kubernetes."""
_IDLE: Final = ("freeze", "stop")
_INGRESS: Final = ("own", "all")


def check_spec(spec: FunctionSpec) -> None:
    """Raise `InvalidSpec` for environment names that are the platform's, and for annotations without a meaning."""
    for name in spec.env:
        if name.startswith("HILBERT_"):
            raise InvalidSpec(f"environment variable {name}: names that begin with HILBERT_ belong to the platform")
    network = spec.annotations.get(ANNOTATION_NETWORK)
    if network is not None and network not in _NETWORKS:
        raise InvalidSpec(f"annotation {ANNOTATION_NETWORK}: must be one of {', '.join(_NETWORKS)}")
    if spec.annotations.get(ANNOTATION_IDLE, "stop") not in _IDLE:
        raise InvalidSpec(f"annotation {ANNOTATION_IDLE}: must be one of {', '.join(_IDLE)}")
    try:
        _pull_secret(spec.annotations)
    except Invalid as exc:
        raise InvalidSpec(exc.message) from exc


def network_of(spec: FunctionSpec, imposed: Mapping[str, str]) -> NetworkUse:
    """The network of `spec`'s replicas: its namespace's, or a narrower one that it asks for itself."""
    egress = Egress.parse(imposed.get(ANNOTATION_EGRESS, "internet"))
    given = NetworkUse(NetworkKind(imposed.get(ANNOTATION_NETWORK, NetworkKind.TENANT)), egress)
    asked = NetworkUse(NetworkKind(spec.annotations.get(ANNOTATION_NETWORK, given.kind)), egress)
    return asked if asked.within(given) else given


def check_network(spec: FunctionSpec, imposed: Mapping[str, str]) -> None:
    """Raise `Forbidden` for a function that asks for more than its namespace has: only who governs that can give it."""
    asked, given = spec.annotations.get(ANNOTATION_NETWORK), network_of(spec, imposed).kind
    if asked is not None and asked != given:
        raise Forbidden(
            f"annotation {ANNOTATION_NETWORK}: the function asks for {asked}, and its namespace has {given}",
            hint=f"an administrator can set {ANNOTATION_NETWORK}: {asked} on the namespace",
        )


def required_promises(annotations: Mapping[str, str]) -> frozenset[Promise]:
    """What a namespace demands of its replicas. Raises `Invalid`, naming the annotation."""
    try:
        return parse_promises(annotations.get(ANNOTATION_ISOLATION, ""))
    except Invalid as exc:
        raise Invalid(f"annotation {ANNOTATION_ISOLATION}: {exc.message}") from exc


def required_of(spec: FunctionSpec, imposed: Mapping[str, str]) -> frozenset[Promise]:
    """What one host must promise of a function's replicas: by its namespace, and by the profile `gvisor` of either.

    There, other profiles have no meaning, and what a function chooses of them is left aside as in OpenFaaS without a cluster.
    """
    names = {*names_in(spec.annotations.get(ANNOTATION_PROFILE)), *names_in(imposed.get(ANNOTATION_PROFILES))}
    return required_promises(imposed) | ({Promise.KERNEL} if GVISOR in names else set())


def check_host_profiles(annotations: Mapping[str, str]) -> None:
    """Raise `Invalid` for a profile that a namespace imposes and one host does not have."""
    for name in names_in(annotations.get(ANNOTATION_PROFILES)):
        if name != GVISOR:
            raise Invalid(
                f"annotation {ANNOTATION_PROFILES}: on a single host there is no profile {name[:64]!r}",
                hint=f"there is {GVISOR}, which runs each replica under gVisor's runsc; others are for Kubernetes",
            )


def names_in(text: str | None) -> list[str]:
    """What stands between the commas."""
    return [name for part in (text or "").split(",") if (name := part.strip())]


def pull_secret(spec: FunctionSpec, imposed: Mapping[str, str]) -> SecretName | None:
    """The secret with logins to registries: the function's own choice, else its namespace's."""
    return _pull_secret(spec.annotations) or _pull_secret(imposed)


def _pull_secret(annotations: Mapping[str, str]) -> SecretName | None:
    """Raises `Invalid`."""
    name = annotations.get(ANNOTATION_PULL_SECRET)
    try:
        return parse_secret_name(name) if name else None
    except Invalid as exc:
        raise Invalid(f"annotation {ANNOTATION_PULL_SECRET}: {exc.message}") from exc


def initial_replicas(labels: Mapping[str, str]) -> int:
    """How many replicas a new function has."""
    return ScalingPolicy.of(labels).min


def updated_replicas(labels: Mapping[str, str], current: int) -> int:
    """An update keeps the count unless the minimum's label is there with a positive number, as OpenFaaS does."""
    return whole_or(labels.get(LABEL_SCALE_MIN), current, least=1, most=MOST_REPLICAS)


def check_namespace(namespace: Namespace) -> None:
    """Raise `ReservedNamespace`, and `Invalid` for annotations without a meaning, or that contradict each other."""
    if namespace.name in RESERVED_NAMESPACES:
        raise ReservedNamespace(f"namespace {namespace.name} is reserved")
    _check_choice(namespace.annotations, ANNOTATION_NETWORK, _NETWORKS)
    _check_choice(namespace.annotations, ANNOTATION_INGRESS, _INGRESS)
    if ANNOTATION_EGRESS in namespace.annotations:
        Egress.parse(namespace.annotations[ANNOTATION_EGRESS])
    required_promises(namespace.annotations)
    _pull_secret(namespace.annotations)
    quota.check_annotations(namespace.annotations)


def check_no_host_annotations(annotations: Mapping[str, str]) -> None:
    """Raise `Invalid` for annotations that only a single host can honour."""
    networks = "on Kubernetes, use com.hilbert.network.internet and com.hilbert.network.gateway"
    secrets = "on Kubernetes, name a secret of the type docker-registry among the function's secrets"
    for key, hint in ((ANNOTATION_EGRESS, networks), (ANNOTATION_INGRESS, networks), (ANNOTATION_PULL_SECRET, secrets)):
        if key in annotations:
            raise Invalid(f"annotation {key}: is for functions on a single host", hint=hint)


def _check_choice(annotations: Mapping[str, str], key: str, known: tuple[str, ...]) -> None:
    if key in annotations and annotations[key] not in known:
        raise Invalid(f"annotation {key}: must be one of {', '.join(known)}")
