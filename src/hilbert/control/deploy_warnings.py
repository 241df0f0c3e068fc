"""What of a deployment is accepted and yet has no effect, or cannot be meant. Pure.

OpenFaaS takes any label, annotation and variable; a refusal would break stack files that work elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.control.known_keys import function_keys
from hilbert.control.scaling.alerts import LABEL_SCALE_FACTOR
from hilbert.control.scaling.policy import LABEL_MAX, read_policy
from hilbert.control.schedules.rules import TOPIC
from hilbert.core.errors import Invalid
from hilbert.core.model import LABEL_SCALE_MIN, MOST_REPLICAS, CallPolicy, FunctionSpec
from hilbert.core.values import Duration, parse_whole

_COUNTS: Final = ((LABEL_SCALE_MIN, 1, MOST_REPLICAS), (LABEL_MAX, 1, MOST_REPLICAS), (LABEL_SCALE_FACTOR, 0, 100))
_TIMES: Final = ("exec_timeout", "write_timeout", "read_timeout")
_PYTHON_NEEDS: Final = 16 << 20
"""Bytes in which Python starts with an empty handler, with a little room: 12 MiB do, 8 do not."""

_MOST_CPU: Final = 50
"""Processors: from here a number without a unit is rather meant in thousandths."""


def deploy_warnings(spec: FunctionSpec, policy: CallPolicy) -> list[str]:
    """A sentence for each. `policy` is what the gateway applies to the function's calls."""
    return [
        *_scaling(spec),
        *_timeouts(spec.env, policy),
        *_memory(spec),
        *_processors(spec),
        *_vain(spec),
        *function_keys(spec.labels, spec.annotations),
    ]


def _scaling(spec: FunctionSpec) -> list[str]:
    labels = spec.labels
    found = [
        f"label {key}: {labels[key][:64]!r} is not a whole number from {least} to {most}, and is ignored"
        for key, least, most in _COUNTS
        if key in labels and _whole(labels[key], least, most) is None
    ]
    least, most = (_whole(labels.get(key, ""), 1, MOST_REPLICAS) for key in (LABEL_SCALE_MIN, LABEL_MAX))
    if least is not None and most is not None and least > most:
        found.append(
            f"label {LABEL_MAX}: {most} is below {LABEL_SCALE_MIN}, which is {least}; {least} is used for both"
        )
    return [*found, *(f"label {text}" for text in read_policy(labels)[1])]


def _timeouts(env: Mapping[str, str], policy: CallPolicy) -> list[str]:
    found = []
    seconds: dict[str, float] = {}
    for name in _TIMES:
        if name not in env:
            continue
        try:
            seconds[name] = Duration.parse(env[name], bare_seconds=True).seconds
        except Invalid:
            found.append(f"{name}: {env[name][:64]!r} is not a duration such as 90s or 5m")
    own = seconds.get("exec_timeout") or seconds.get("write_timeout") or 0.0
    name = "exec_timeout" if seconds.get("exec_timeout") else "write_timeout"
    for limit, what, key in (
        (policy.first_byte, "for the first byte of an answer", "com.hilbert.timeout.first-byte"),
        (policy.total, "for a whole call", "com.hilbert.timeout.total"),
    ):
        if 0 < limit < own:
            found.append(
                f"{name}: the function may take {env[name]}, but the gateway waits {Duration.of(limit)} at most {what}; "
                f"annotation {key} changes that"
            )
    return found


def _memory(spec: FunctionSpec) -> list[str]:
    memory = spec.limits.memory if spec.limits is not None else None
    if memory is None or memory.amount >= _PYTHON_NEEDS:
        return []
    return [
        f"limits.memory: {memory} is too little for a Python function to start in: an empty handler needs about 12Mi"
    ]


def _processors(spec: FunctionSpec) -> list[str]:
    cpu = spec.limits.cpu if spec.limits is not None else None
    if cpu is None or cpu.amount < _MOST_CPU:
        return []
    meant = f"; did you mean {cpu}m?" if cpu.text.isdigit() else ""
    return [f"limits.cpu: {cpu} is {cpu.amount.normalize():f} whole processors{meant}"]


def _vain(spec: FunctionSpec) -> list[str]:
    """What means something only beside another value, or as a number."""
    found = []
    topics = [topic.strip() for topic in spec.annotations.get("topic", "").split(",")]
    if "schedule" in spec.annotations and TOPIC not in topics:
        found.append(f"annotation schedule: it has no effect without the annotation topic: {TOPIC}")
    most = spec.env.get("max_inflight", "")
    if most and _whole(most, 0, 1 << 31) is None:
        found.append(f"max_inflight: {most[:64]!r} is not a whole number, and is ignored")
    return found


def _whole(text: str, least: int, most: int) -> int | None:
    try:
        number = parse_whole(text, most=most)
    except Invalid:
        return None
    return number if number >= least else None
