"""Profiles (`openfaas.com/v1`): named bundles of Pod settings, merged in order. Pure.

Later profiles win field by field; tolerations and topology constraints add up; affinity, DNS and strategy replace.
A function's own resources win over those of the profiles that it chose; what its namespace imposes wins over both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from hilbert.core.errors import InvalidSpec
from hilbert.core.model import ANNOTATION_PROFILE, ANNOTATION_PROFILES
from hilbert.providers.kubernetes.cluster.names import NS_PROFILES_ALLOWED
from hilbert.providers.kubernetes.cluster.objects import ProfileObject

_ADDED: Final = ("tolerations", "topologySpreadConstraints")
_REPLACED: Final = ("affinity", "runtimeClassName", "dnsPolicy", "dnsConfig", "priorityClassName")
_WEAKENING: Final = ("podSecurityContext", "priorityClassName", "tolerations")
"""Fields by which a function could run as another user, push others off their nodes, or get onto nodes that are kept free."""
_MOST: Final = 20


class Merged(msgspec.Struct, frozen=True):
    """What the profiles of one function say together."""

    pod: Mapping[str, Any] = {}
    """Fields of the Pod's spec."""
    security: Mapping[str, Any] = {}
    """Fields of the Pod's security context, over our own."""
    resources: Mapping[str, Mapping[str, str]] = {}
    """`limits` and `requests`, under the function's own."""
    imposed: Mapping[str, Mapping[str, str]] = {}
    """The same, over the function's own."""
    recreate: bool = False
    """Stop the old version before the new one starts."""


def chosen(annotations: Mapping[str, str], namespace_annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Names of a function's profiles in the order of merging: its own choice, then its namespace's."""
    own = _names(annotations.get(ANNOTATION_PROFILE, ""))
    last = imposed(namespace_annotations)
    if len(own) > _MOST:
        raise InvalidSpec(f"annotation {ANNOTATION_PROFILE}: names more than {_MOST} profiles")
    return (*(name for name in own if name not in last), *last)


def imposed(namespace_annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the profiles that a namespace's functions cannot leave."""
    return _names(namespace_annotations.get(ANNOTATION_PROFILES, ""))


def check_allowed(
    names: Iterable[str], known: Mapping[str, ProfileObject], namespace_annotations: Mapping[str, str]
) -> None:
    """Raise `InvalidSpec` for a profile that a function may not choose in its namespace.

    A namespace lists what it allows. Where it says nothing, a function may choose what cannot weaken its isolation or take
    from others.
    """
    listed = namespace_annotations.get(NS_PROFILES_ALLOWED)
    allowed = _names(listed or "")
    if "*" in allowed:
        return
    forced = imposed(namespace_annotations)
    for name in names:
        if name in forced or name in allowed:
            continue
        spec = (known[name].spec if name in known else None) or {}
        weakening = [field for field in _WEAKENING if spec.get(field)]
        if listed is not None or weakening:
            why = f"sets {', '.join(weakening)}, and " if weakening else ""
            raise InvalidSpec(
                f"profile {name} {why}is not among those that this namespace allows its functions to choose",
                hint=f"an administrator can list it in the namespace's annotation {NS_PROFILES_ALLOWED}",
            )


def merge(names: Iterable[str], known: Mapping[str, ProfileObject], *, imposed: Collection[str] = ()) -> Merged:
    """`imposed` are those of `names` that a namespace imposes. Raises `InvalidSpec` for a profile that does not exist."""
    pod: dict[str, Any] = {}
    security: dict[str, Any] = {}
    resources: dict[str, dict[str, str]] = {}
    forced: dict[str, dict[str, str]] = {}
    recreate = False
    for name in names:
        profile = known.get(name)
        if profile is None:
            raise InvalidSpec(
                f"annotation {ANNOTATION_PROFILES if name in imposed else ANNOTATION_PROFILE}: profile {name} does not exist",
                hint="profiles are Profile objects in the platform's namespace; list them: kubectl get profiles -A",
            )
        spec = profile.spec or {}
        for field in _ADDED:
            if spec.get(field):
                pod[field] = [*pod.get(field, ()), *spec[field]]
        for field in _REPLACED:
            if spec.get(field):
                pod[field] = spec[field]
        security.update(spec.get("podSecurityContext") or {})
        for kind in ("limits", "requests"):
            amounts = (spec.get("resources") or {}).get(kind) or {}
            target = forced if name in imposed else resources
            target.setdefault(kind, {}).update({key: str(amount) for key, amount in amounts.items()})
        strategy = spec.get("strategy")
        if strategy:
            recreate = strategy.get("type") == "Recreate"
    return Merged(pod=pod, security=security, resources=resources, imposed=forced, recreate=recreate)


def _names(text: str) -> tuple[str, ...]:
    """Comma-separated, without blanks and repeats."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
