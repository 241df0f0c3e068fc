"""How a function scales, as the REST API tells it."""

from __future__ import annotations

import msgspec


class ScalingRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the labels `com.openfaas.scale.*` ask for."""

    type: str
    """`rps`, `capacity`, `cpu`, `queue` or the name of a query; empty: its load does not change its count."""
    target: float
    proportion: float
    min: int
    max: int
    zero: bool
    zero_after: str
    """A duration, such as `15m0s`."""
    down_window: str


class ScalingChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One change of the count that scaling made."""

    at: str
    """RFC 3339."""
    before: int
    after: int
    reason: str
    message: str
    load: float | None = None
    wanted: int | None = None


class Scaling(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a function scales, and what was last decided."""

    name: str
    namespace: str
    replicas: int
    available: int
    rule: ScalingRule | None = None
    """Absent: no label asks for scaling."""
    load: float | None = None
    wanted: int | None = None
    reason: str = ""
    message: str = ""
    refused: str = ""
    changes: tuple[ScalingChange, ...] = ()
    """The newest last; at most 20, and none from before the gateway started."""
