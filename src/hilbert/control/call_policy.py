"""From a function's settings to the limits on its calls. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.errors import InvalidSpec
from hilbert.core.limits import CallLimits, TenantLimits
from hilbert.core.model import (
    ANNOTATION_AUTH,
    ANNOTATION_MAX_INFLIGHT,
    ANNOTATION_QUEUE_LENGTH,
    ANNOTATION_TIMEOUT_ACTIVATION,
    ANNOTATION_TIMEOUT_FIRST_BYTE,
    ANNOTATION_TIMEOUT_IDLE,
    ANNOTATION_TIMEOUT_TOTAL,
    ENV_AUTH,
    CallPolicy,
    FunctionSpec,
    count_annotation,
    duration_annotation,
)
from hilbert.core.settings import GatewaySettings
from hilbert.core.values import Duration, whole_or

ENV_MAX_INFLIGHT: Final = "max_inflight"
"""The watchdog's own limit. It answers 429 above it, so the gateway keeps calls waiting at that number instead."""


_TIMES: Final = (
    ANNOTATION_TIMEOUT_FIRST_BYTE,
    ANNOTATION_TIMEOUT_IDLE,
    ANNOTATION_TIMEOUT_TOTAL,
    ANNOTATION_TIMEOUT_ACTIVATION,
)


def call_policy(spec: FunctionSpec, namespace_annotations: Mapping[str, str], settings: GatewaySettings) -> CallPolicy:
    """The limits on a call of `spec`: the function's annotation, else its namespace's (times only), else the setting.

    `exec_timeout` and `write_timeout` of the function's environment are not read: the watchdog enforces them itself.
    Raises `InvalidSpec`, naming the annotation.
    """
    times = {**namespace_annotations, **spec.annotations}

    CallLimits.of(spec.annotations)
    TenantLimits.of(spec.annotations)
    _check_auth(spec.annotations)

    def seconds(key: str, default: Duration) -> float:
        return duration_annotation(times, key, default).seconds

    return CallPolicy(
        first_byte=seconds(ANNOTATION_TIMEOUT_FIRST_BYTE, settings.first_byte_timeout),
        idle=seconds(ANNOTATION_TIMEOUT_IDLE, settings.idle_timeout),
        total=seconds(ANNOTATION_TIMEOUT_TOTAL, settings.total_timeout),
        activation=seconds(ANNOTATION_TIMEOUT_ACTIVATION, settings.activation_timeout),
        max_inflight=count_annotation(
            spec.annotations, ANNOTATION_MAX_INFLIGHT, whole_or(spec.env.get(ENV_MAX_INFLIGHT), 0, most=999_999)
        ),
        queue_length=count_annotation(spec.annotations, ANNOTATION_QUEUE_LENGTH, settings.queue_length),
    )


def usable_policy(
    spec: FunctionSpec, namespace_annotations: Mapping[str, str], settings: GatewaySettings
) -> tuple[CallPolicy, str]:
    """As `call_policy`, but never fails: wrong annotations, which can come from elsewhere, leave the settings in force.

    The second value says what is wrong, or is empty.
    """
    try:
        return call_policy(spec, namespace_annotations, settings), ""
    except InvalidSpec as exc:
        plain = msgspec.structs.replace(spec, annotations={})
        return call_policy(plain, {}, settings), exc.message


def usable_limits(annotations: Mapping[str, str]) -> CallLimits | None:
    """The limits that annotations set; wrong ones, which can come from elsewhere, set none."""
    try:
        return CallLimits.of(annotations)
    except InvalidSpec:
        return None


def is_guarded(spec: FunctionSpec, namespace_annotations: Mapping[str, str]) -> bool:
    """Whether callers must prove that they may call it. What cannot be read asks for it: a slip must not open a function."""
    for found in (spec.annotations, namespace_annotations):
        if found.get(ANNOTATION_AUTH, "").strip().lower() not in ("", "none"):
            return True
    return asks_itself(spec)


def asks_itself(spec: FunctionSpec) -> bool:
    """Whether the function's own watchdog lets in only who has a function token (OpenFaaS's `jwt_auth`)."""
    return spec.env.get(ENV_AUTH, "").strip().lower() in ("true", "1", "t")


def check_namespace_policy(annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for a namespace's annotation that no function could honour, naming it."""
    for key in _TIMES:
        duration_annotation(annotations, key, Duration(0))
    CallLimits.of(annotations)
    TenantLimits.of(annotations)
    _check_auth(annotations)


def _check_auth(annotations: Mapping[str, str]) -> None:
    """Raises `InvalidSpec`."""
    if annotations.get(ANNOTATION_AUTH, "none") not in ("required", "none"):
        raise InvalidSpec(f"annotation {ANNOTATION_AUTH}: must be required, or none")
