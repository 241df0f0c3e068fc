"""Annotations of a namespace that cannot be read: refused where the API sets them, put up with where they are. Pure.

Whoever writes with `kubectl` is not asked before. A wrong annotation must then neither open what it was to close nor make
the rest of the namespace unusable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from hilbert.core.errors import HilbertError, InvalidSpec
from hilbert.core.model import ANNOTATION_INGRESS, ANNOTATION_NETWORK, ANNOTATION_PROFILES, ANNOTATION_PULL_SECRET
from hilbert.core.network import ANNOTATION_EGRESS, NetworkKind
from hilbert.core.values import parse_label, parse_namespace_name, parse_secret_name
from hilbert.providers import quota
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.render import tenant
from hilbert.providers.rules import check_no_host_annotations

_SWITCHES: Final = tuple(f"com.hilbert.tenant.{piece}" for piece in tenant.PIECES)
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    tenant.INTERNET: ("open", "closed"),
    tenant.GATEWAY: ("open", "closed"),
    tenant.POD_SECURITY: tenant.POD_SECURITY_LEVELS,
    names.NS_TENANT: tuple(one.value for one in tenant.Scope),
    ANNOTATION_NETWORK: tuple(NetworkKind),
    **dict.fromkeys(_SWITCHES, ("on", "off")),
}
_CLOSED: Final = {tenant.INTERNET: "closed", ANNOTATION_NETWORK: NetworkKind.NONE.value}
"""What stands for a value that cannot be read, where none at all would open something."""
_LISTS: Final[Mapping[str, Callable[[str], object]]] = {
    ANNOTATION_PROFILES: parse_secret_name,  # The name of any object, as a secret's is.
    names.NS_PROFILES_ALLOWED: lambda text: text == "*" or parse_secret_name(text),
    names.NS_SERVICE_ACCOUNTS: parse_secret_name,
    names.NS_CONSTRAINTS: lambda text: parse_label(text, ""),
}
_OF_ONE_HOST: Final = (ANNOTATION_EGRESS, ANNOTATION_INGRESS, ANNOTATION_PULL_SECRET)
_LIMITS: Final = "limits"
"""Stands for all of them, where it is not said which one contradicts."""
_COUNTED: Final = (quota.FUNCTIONS, quota.REPLICAS, quota.SECRETS, *quota.AMOUNTS)


def check(annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for an annotation that cannot be honoured, naming it."""
    for key, why in problems(annotations).items():
        raise InvalidSpec(f"annotation {key}: {why}")


def problems(annotations: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each annotation of ours that cannot be read."""
    found: dict[str, str] = {}
    for key, choices in _CHOICES.items():
        if key in annotations and annotations[key] not in choices:
            found[key] = f"must be one of {', '.join(choices)}"
    if tenant.METRICS in annotations:
        _try(found, tenant.METRICS, lambda: parse_namespace_name(annotations[tenant.METRICS]))
    for key, parse in _LISTS.items():
        for part in filter(None, (part.strip() for part in annotations.get(key, "").split(","))):
            _try(found, key, lambda parse=parse, part=part: parse(part))  # type: ignore[misc]
    for key in (*_COUNTED, *quota.LIMITS):
        if key in annotations:
            _try(found, key, lambda key=key: quota.quantity(annotations, key))  # type: ignore[misc]
    for key in _OF_ONE_HOST:
        if key in annotations:
            _try(found, key, lambda key=key: check_no_host_annotations({key: ""}))  # type: ignore[misc]
    readable = {key: value for key, value in annotations.items() if key not in found}
    for _ in quota.LIMITS:  # They may also contradict each other, one after the other.
        try:
            quota.limit_range(readable)
        except HilbertError as exc:
            key, why = _told(exc.message)
            found[key or _LIMITS] = why
            if readable.pop(key, None) is None:
                break
        else:
            break
    return found


def usable(annotations: Mapping[str, str]) -> Mapping[str, str]:
    """Without those that cannot be read; where that would open something, closed."""
    wrong = problems(annotations)
    if not wrong:
        return annotations
    lists = _LISTS.keys()  # A profile that is imposed and cannot be one must go on refusing functions.
    kept = {key: value for key, value in annotations.items() if key not in wrong or key in lists}
    if _LIMITS in wrong:
        kept = {key: value for key, value in kept.items() if key not in quota.LIMITS}
    return {**kept, **{key: value for key, value in _CLOSED.items() if key in wrong}}


def _try(found: dict[str, str], key: str, parse: Callable[[], object]) -> None:
    try:
        parse()
    except HilbertError as exc:
        found.setdefault(key, _told(exc.message)[1])


def _told(message: str) -> tuple[str, str]:
    """The annotation that a message is about, and what it says of it."""
    head, colon, why = message.partition(": ")
    if colon and head.startswith("annotation "):
        return head.removeprefix("annotation "), why
    return "", message
