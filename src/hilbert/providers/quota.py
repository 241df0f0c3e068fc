"""What the functions of one namespace may have together, and each of them: from the namespace's annotations. Pure.

Every provider refuses by this what goes beyond, before it promises anything. On Kubernetes a ResourceQuota and a
LimitRange made of the same annotations (`kubernetes.tenant`) hold whatever comes from elsewhere to it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from hilbert.core.amounts import check_amount
from hilbert.core.errors import HilbertError, InvalidSpec, QuotaExceeded
from hilbert.core.model import FunctionSpec, Resources
from hilbert.core.values import Quantity

FUNCTIONS: Final = "com.hilbert.quota.functions"
REPLICAS: Final = "com.hilbert.quota.replicas"
SECRETS: Final = "com.hilbert.quota.secrets"
AMOUNTS: Final = {
    "com.hilbert.quota.cpu": ("limits", "cpu"),
    "com.hilbert.quota.memory": ("limits", "memory"),
    "com.hilbert.quota.requests-cpu": ("requests", "cpu"),
    "com.hilbert.quota.requests-memory": ("requests", "memory"),
}
"""Annotations that bound a sum over all replicas."""

LIMITS: Final = {
    "com.hilbert.limits.cpu": ("default", "cpu"),
    "com.hilbert.limits.memory": ("default", "memory"),
    "com.hilbert.limits.requests-cpu": ("defaultRequest", "cpu"),
    "com.hilbert.limits.requests-memory": ("defaultRequest", "memory"),
    "com.hilbert.limits.max-cpu": ("max", "cpu"),
    "com.hilbert.limits.max-memory": ("max", "memory"),
}
"""Annotations on what one replica gets when its function says nothing, and the most it may ask for."""

_FILLED: Final = {"cpu": "100m", "memory": "128Mi"}
"""Given to functions without limits where a quota counts limits: else nothing could be counted."""
_OFF: Final = "com.hilbert.tenant."

Range = dict[str, dict[str, str]]
"""`default`, `defaultRequest` and `max`, each by resource, as in a LimitRange."""


class Demand(msgspec.Struct, frozen=True):
    """What one function asks for."""

    replicas: int
    each: Mapping[tuple[str, str], Decimal] = {}
    """Of one replica: `limits` or `requests`, and the resource."""


def is_off(annotations: Mapping[str, str], piece: str) -> bool:
    """Whether an administrator has switched a piece of the tenant off."""
    return annotations.get(_OFF + piece) == "off"


def is_limited(annotations: Mapping[str, str]) -> bool:
    """Whether anything is counted of functions."""
    return any(key in annotations for key in (FUNCTIONS, REPLICAS, *AMOUNTS)) and not is_off(annotations, "quota")


def quantity(annotations: Mapping[str, str], key: str) -> Quantity:
    """Raises `InvalidSpec`, naming the annotation."""
    try:
        found = Quantity.parse(annotations[key])
    except HilbertError as exc:
        raise InvalidSpec(f"annotation {key}: {exc.message}") from exc
    if key in (FUNCTIONS, REPLICAS, SECRETS) and found.amount % 1:
        raise InvalidSpec(f"annotation {key}: must be a whole number, not {found}")
    kind, resource = AMOUNTS.get(key) or LIMITS.get(key, ("", ""))
    if kind in ("limits", "default", "max"):
        check_amount(f"annotation {key}", resource, found, may_be_none=kind == "limits")
    return found


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for a quota or a limit that cannot be honoured."""
    for key in (FUNCTIONS, REPLICAS, SECRETS, *AMOUNTS):
        if key in annotations:
            quantity(annotations, key)
    limit_range(annotations)


def limit_range(annotations: Mapping[str, str]) -> Range:
    """What replicas get and may have; empty: no statement. Raises `InvalidSpec` for annotations that contradict."""
    if is_off(annotations, "limits"):
        return {}
    limits: Range = {}
    for key, (group, resource) in LIMITS.items():
        if key in annotations:
            limits.setdefault(group, {})[resource] = quantity(annotations, key).text
    counted = set() if is_off(annotations, "quota") else {AMOUNTS[key] for key in AMOUNTS if key in annotations}
    for resource, amount in _FILLED.items():
        if ("limits", resource) in counted:
            limits.setdefault("default", {}).setdefault(resource, limits.get("max", {}).get(resource, amount))
        if ("requests", resource) in counted:
            default = limits.get("default", {}).get(resource, amount)
            limits.setdefault("defaultRequest", {}).setdefault(resource, default)
    for resource, limit in limits.get("max", {}).items():
        default = limits.setdefault("default", {}).setdefault(resource, limit)
        if Quantity.parse(default).amount > Quantity.parse(limit).amount:
            raise InvalidSpec(
                f"annotation com.hilbert.limits.{resource}: is more than com.hilbert.limits.max-{resource}"
            )
    for resource, request in limits.get("defaultRequest", {}).items():
        most = limits.get("default", {}).get(resource)
        if most is not None and Quantity.parse(request).amount > Quantity.parse(most).amount:
            raise InvalidSpec(f"annotation com.hilbert.limits.requests-{resource}: is more than the limit of {most}")
    return limits


def check_resources(spec: FunctionSpec, annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for a function that asks for more than its namespace lets one replica have."""
    for resource, most in limit_range(annotations).get("max", {}).items():
        for kind, own in (("limits", spec.limits), ("requests", spec.requests)):
            asked = _amount(own, resource)
            if asked is not None and asked.amount > Quantity.parse(most).amount:
                raise InvalidSpec(
                    f"{kind}.{resource} ({asked}) is more than the {most} that namespace {spec.ref.namespace} allows",
                    hint=f"ask for less; only an administrator can change com.hilbert.limits.max-{resource}",
                )


def with_limits(spec: FunctionSpec, annotations: Mapping[str, str]) -> FunctionSpec:
    """The spec as one replica is to run: with its namespace's limits where it states none."""
    defaults = limit_range(annotations).get("default", {})
    filled = {
        resource: Quantity.parse(amount)
        for resource, amount in defaults.items()
        if _amount(spec.limits, resource) is None
    }
    if not filled:
        return spec
    return msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits or Resources(), **filled))


def demand(
    replicas: int, limits: Resources | None, requests: Resources | None, annotations: Mapping[str, str]
) -> Demand:
    """Of a function with these resources in a namespace with these annotations, counted as Kubernetes counts."""
    ranges = limit_range(annotations)
    each: dict[tuple[str, str], Decimal] = {}
    for resource in _FILLED:
        default = ranges.get("default", {}).get(resource)
        own = _amount(limits, resource)
        limit = own or (Quantity.parse(default) if default is not None else None)
        asked = ranges.get("defaultRequest", {}).get(resource)
        request = _amount(requests, resource) or own or (Quantity.parse(asked) if asked is not None else limit)
        for kind, amount in (("limits", limit), ("requests", request)):
            if amount is not None:
                each[kind, resource] = amount.amount
    return Demand(replicas, each)


def check(annotations: Mapping[str, str], before: Iterable[Demand], after: Iterable[Demand], what: str) -> None:
    """Raise `QuotaExceeded` if the namespace would have more than its quota, and more than now, with `what`."""
    if not is_limited(annotations):
        return
    now, then = _sums(before), _sums(after)
    for key in (key for key in (FUNCTIONS, REPLICAS, *AMOUNTS) if key in annotations):
        _require(annotations, key, now.get(key, Decimal(0)), then.get(key, Decimal(0)), what)


def check_secrets(annotations: Mapping[str, str], count: int, what: str) -> None:
    """Raise `QuotaExceeded` if a namespace with `count` secrets may not have one more."""
    if SECRETS in annotations and not is_off(annotations, "quota"):
        _require(annotations, SECRETS, Decimal(count), Decimal(count + 1), what)


def exceeded(what: str, why: str) -> QuotaExceeded:
    return QuotaExceeded(
        f"the namespace's quota has no room for {what}: {why}",
        hint="scale something down, or ask an administrator to raise the namespace's com.hilbert.quota.* annotations",
    )


def _require(annotations: Mapping[str, str], key: str, now: Decimal, then: Decimal, what: str) -> None:
    hard = quantity(annotations, key)
    if then > hard.amount and then > now:
        raise exceeded(what, f"{key} is {hard}, and it would be {_shown(key, then)}")


def _sums(demands: Iterable[Demand]) -> dict[str, Decimal]:
    sums = {FUNCTIONS: Decimal(0), REPLICAS: Decimal(0)}
    for one in demands:
        sums[FUNCTIONS] += 1
        sums[REPLICAS] += one.replicas
        for key, of in AMOUNTS.items():
            sums[key] = sums.get(key, Decimal(0)) + one.replicas * one.each.get(of, Decimal(0))
    return sums


def _amount(resources: Resources | None, name: str) -> Quantity | None:
    if resources is None:
        return None
    return resources.cpu if name == "cpu" else resources.memory


def _shown(key: str, amount: Decimal) -> str:
    if key not in AMOUNTS:
        return str(int(amount))
    if AMOUNTS[key][1] == "cpu":
        return f"{int(amount * 1000)}m"
    return f"{amount / 2**20:.0f}Mi" if amount >= 2**20 else str(int(amount))
