"""Deployments to specifications, and what is observed of them to the status that clients read.

Limits that are not OpenFaaS's own: 256 KiB of annotations as in Kubernetes, 1 MiB of environment in all and 128 KiB for
one variable, since Linux starts no process with a longer one (`MAX_ARG_STRLEN`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from hilbert.core.amounts import check_amount
from hilbert.core.errors import HilbertError, InvalidSpec
from hilbert.core.model import LABEL_FUNCTION, CallPolicy, FunctionSpec, FunctionStatus, Resources
from hilbert.core.values import (
    Duration,
    FunctionRef,
    NamespaceName,
    Quantity,
    parse_annotation,
    parse_env,
    parse_function_name,
    parse_label,
    parse_secret_name,
)
from hilbert.wire.function import CallTimeouts, Deployment, Function, FunctionDetail, ResourceAmounts, UsageAmounts
from hilbert.wire.reading import check_size

MAX_LABELS: Final = 256
MAX_LABELS_BYTES: Final = 64 * 1024
MAX_ANNOTATIONS: Final = 1024
MAX_ANNOTATIONS_BYTES: Final = 256 * 1024
MAX_ENV: Final = 2048
MAX_ENV_BYTES: Final = 1024 * 1024
MAX_ENV_ENTRY_BYTES: Final = 128 * 1024 - 1
MAX_IMAGE: Final = 1024
MAX_PROCESS_BYTES: Final = 64 * 1024
MAX_SECRETS: Final = 256
MAX_CONSTRAINTS: Final = 64
MAX_CONSTRAINT: Final = 512

_PLATFORM_ENV: Final = "HILBERT_"


def to_spec(deployment: Deployment, namespace: NamespaceName) -> FunctionSpec:
    """The specification that a deployment asks for, in `namespace`, with every value parsed.

    Raises `InvalidSpec` and `Invalid`, naming the field.
    """
    if not deployment.service:
        raise InvalidSpec("validation failed: service: is required")
    ref = FunctionRef(namespace=namespace, name=parse_function_name(deployment.service))
    labels = dict(deployment.labels)
    labels.pop(LABEL_FUNCTION, None)
    annotations = dict(deployment.annotations)
    check_labels(labels)
    check_annotations(annotations)
    return FunctionSpec(
        ref=ref,
        image=_image(deployment.image),
        process=_process(deployment.env_process),
        env=_env(dict(deployment.env_vars)),
        labels=labels,
        annotations=annotations,
        secrets=tuple(
            dict.fromkeys(parse_secret_name(name) for name in _few("secrets", deployment.secrets, MAX_SECRETS))
        ),
        constraints=_constraints(deployment.constraints),
        limits=_resources("limits", deployment.limits),
        requests=_resources("requests", deployment.requests),
        read_only_root=deployment.read_only_root_filesystem,
    )


def from_spec(spec: FunctionSpec) -> Deployment:
    """The deployment that asks for `spec`."""
    return Deployment(
        service=spec.ref.name,
        image=spec.image,
        namespace=spec.ref.namespace,
        env_process=spec.process,
        env_vars=spec.env,
        constraints=spec.constraints,
        secrets=spec.secrets,
        labels=spec.labels,
        annotations=spec.annotations,
        limits=_amounts(spec.limits),
        requests=_amounts(spec.requests),
        read_only_root_filesystem=spec.read_only_root,
    )


def from_status(
    status: FunctionStatus,
    policy: CallPolicy,
    *,
    invocations: int = 0,
    warnings: Sequence[str] = (),
    with_usage: bool = False,
) -> Function:
    """A status as clients read it. `invocations` is the count of finished calls; `warnings` say what has no effect."""
    spec = status.spec
    usage = status.usage if with_usage else None
    return Function(
        name=spec.ref.name,
        image=spec.image,
        namespace=spec.ref.namespace,
        env_process=spec.process,
        env_vars=spec.env,
        constraints=spec.constraints,
        secrets=spec.secrets,
        labels={**spec.labels, LABEL_FUNCTION: spec.ref.name},
        annotations=spec.annotations,
        limits=_amounts(spec.limits),
        requests=_amounts(spec.requests),
        read_only_root_filesystem=spec.read_only_root,
        invocation_count=invocations,
        replicas=status.replicas,
        available_replicas=status.available,
        created=rfc3339(status.created_at),
        usage=UsageAmounts(usage.cpu_millis, usage.memory_bytes) if usage else None,
        hilbert=FunctionDetail(
            phase=status.phase.value,
            reason=status.reason,
            message=status.message,
            warnings=tuple(warnings),
            generation=status.generation,
            ready_generation=status.ready_generation,
            placement=status.placement,
            timeouts=CallTimeouts(
                first_byte=str(Duration.of(policy.first_byte)),
                idle=str(Duration.of(policy.idle)),
                total=str(Duration.of(policy.total)),
                activation=str(Duration.of(policy.activation)),
            ),
        ),
    )


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as Go prints it: no trailing zeros in the fraction, `Z` at the end."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise `Invalid` for a key or value that Kubernetes would refuse, and `InvalidSpec` for too many."""
    check_size("labels", labels.items(), count=MAX_LABELS, size=MAX_LABELS_BYTES)
    for key, value in labels.items():
        parse_label(key, value)


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Raise `Invalid` for a key that Kubernetes would refuse, and `InvalidSpec` for too many."""
    check_size("annotations", annotations.items(), count=MAX_ANNOTATIONS, size=MAX_ANNOTATIONS_BYTES)
    for key, value in annotations.items():
        parse_annotation(key, value)


def _image(image: str) -> str:
    if not image:
        raise InvalidSpec("validation failed: image: is required")
    if len(image) > MAX_IMAGE or not image.isascii() or not image.isprintable() or " " in image:
        raise InvalidSpec(
            f"validation failed: image: must be at most {MAX_IMAGE} printable ASCII characters without spaces"
        )
    return image


def _process(process: str) -> str:
    if "\0" in process or len(process.encode()) > MAX_PROCESS_BYTES:
        raise InvalidSpec(f"envProcess: must be at most {MAX_PROCESS_BYTES} bytes without NUL")
    return process


def _env(env: dict[str, str]) -> dict[str, str]:
    check_size("envVars", env.items(), count=MAX_ENV, size=MAX_ENV_BYTES)
    for key, value in env.items():
        parse_env(key, value)
        if key.startswith(_PLATFORM_ENV):
            raise InvalidSpec(
                f"environment variable {key}: names that begin with {_PLATFORM_ENV} belong to the platform"
            )
        if len(key) + 1 + len(value.encode()) > MAX_ENV_ENTRY_BYTES:
            raise InvalidSpec(
                f"environment variable {key}: longer than {MAX_ENV_ENTRY_BYTES} bytes, which no process can be started with",
                hint="put it in a secret, which the function reads as a file",
            )
    return env


def _few(what: str, entries: Sequence[str], most: int) -> Sequence[str]:
    if len(entries) > most:
        raise InvalidSpec(f"{what}: {len(entries)} entries; the most is {most} per function")
    return entries


def _constraints(entries: Sequence[str]) -> tuple[str, ...]:
    for entry in _few("constraints", entries, MAX_CONSTRAINTS):
        if not entry or len(entry) > MAX_CONSTRAINT or not entry.isprintable():
            raise InvalidSpec(
                f"constraints: each must be from 1 to {MAX_CONSTRAINT} printable characters",
                hint="write them like kubernetes.io/arch=amd64",
            )
    return tuple(entries)


_UNIT_SLIP: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([kmgt])(?:i?b?)", re.IGNORECASE)
"""`64mi`, `128MB`, `1 Gi`."""


def _resources(what: str, given: ResourceAmounts | None) -> Resources | None:
    if given is None:
        return None
    devices = {
        name: quantity
        for name, text in (("nvidia.com/gpu", given.nvidia), ("amd.com/gpu", given.amd), ("intel.com/gpu", given.intel))
        if (quantity := _quantity(f"{what}.{name}", text)) is not None
    }
    found = Resources(
        memory=_quantity(f"{what}.memory", given.memory), cpu=_quantity(f"{what}.cpu", given.cpu), devices=devices
    )
    if what == "limits":
        for resource, amount in (("memory", found.memory), ("cpu", found.cpu)):
            if amount is not None:
                check_amount(f"limits.{resource}", resource, amount)
    return None if found == Resources() else found


def _quantity(what: str, text: str) -> Quantity | None:
    if not text:
        return None
    try:
        return Quantity.parse(text)
    except HilbertError as exc:
        slip = _UNIT_SLIP.fullmatch(text) if what.endswith(".memory") else None
        hint = f"did you mean {slip[1]}{slip[2].upper()}i?" if slip else ""
        raise InvalidSpec(f"{what}: {exc.message}", hint=hint) from exc


def _amounts(given: Resources | None) -> ResourceAmounts | None:
    if given is None:
        return None

    def text(quantity: Quantity | None) -> str:
        return "" if quantity is None else str(quantity)

    return ResourceAmounts(
        memory=text(given.memory),
        cpu=text(given.cpu),
        nvidia=text(given.devices.get("nvidia.com/gpu")),
        amd=text(given.devices.get("amd.com/gpu")),
        intel=text(given.devices.get("intel.com/gpu")),
    )
