"""What functions ask for, read off their Deployments: also what profiles and others gave them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from hilbert.core.errors import HilbertError
from hilbert.core.model import Resources
from hilbert.core.values import Quantity
from hilbert.providers import quota


class _Resources(msgspec.Struct, frozen=True):
    limits: Mapping[str, str | int | float] = {}
    requests: Mapping[str, str | int | float] = {}


class _Container(msgspec.Struct, frozen=True):
    resources: _Resources = _Resources()


class _PodSpec(msgspec.Struct, frozen=True):
    containers: tuple[_Container, ...] = ()


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _Spec(msgspec.Struct, frozen=True):
    template: _Template = _Template()


def of_spec(spec: object, replicas: int, annotations: Mapping[str, str]) -> quota.Demand:
    """Of a Deployment's spec, undecoded or as rendered, in a namespace with these annotations."""
    decoded = msgspec.json.decode(spec, type=_Spec) if isinstance(spec, msgspec.Raw) else msgspec.convert(spec, _Spec)
    each: dict[tuple[str, str], Decimal] = {}
    for container in decoded.template.spec.containers:
        stated = container.resources
        one = quota.demand(replicas, _resources(stated.limits), _resources(stated.requests), annotations)
        for key, amount in one.each.items():
            each[key] = each.get(key, Decimal(0)) + amount
    return quota.Demand(replicas, each)


def _resources(amounts: Mapping[str, str | int | float]) -> Resources:
    return Resources(memory=_quantity(amounts, "memory"), cpu=_quantity(amounts, "cpu"))


def _quantity(amounts: Mapping[str, str | int | float], name: str) -> Quantity | None:
    try:
        return Quantity.parse(str(amounts[name])) if name in amounts else None
    except HilbertError:  # In a form that Kubernetes alone knows; the cluster's own quota counts it.
        return None
