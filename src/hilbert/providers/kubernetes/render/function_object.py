"""Between a `FunctionSpec` and the `spec` of a Function object (`openfaas.com/v1`). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hilbert.core.errors import HilbertError, InvalidSpec
from hilbert.core.model import FunctionSpec, Resources
from hilbert.core.values import (
    FunctionRef,
    Quantity,
    parse_annotation,
    parse_env,
    parse_function_name,
    parse_label,
    parse_namespace_name,
    parse_secret_name,
)
from hilbert.providers.kubernetes.cluster.objects import FunctionObject, Manifest

API_VERSION: Final = "openfaas.com/v1"
_FIELDS: Final = (
    "environment",
    "labels",
    "annotations",
    "secrets",
    "constraints",
    "limits",
    "requests",
    "readOnlyRootFilesystem",
)


def to_object(spec: FunctionSpec) -> Manifest:
    """The Function object, whole but for what the API server fills in."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Function",
        "metadata": {"name": spec.ref.name, "namespace": spec.ref.namespace},
        "spec": to_spec(spec),
    }


def to_spec(spec: FunctionSpec) -> dict[str, Any]:
    """Empty fields are left out, as `kubectl` users write it."""
    environment = dict(spec.env)
    if spec.process:
        environment["fprocess"] = spec.process
    fields: dict[str, Any] = {
        "name": spec.ref.name,
        "image": spec.image,
        "environment": environment,
        "labels": dict(spec.labels),
        "annotations": dict(spec.annotations),
        "secrets": list(spec.secrets),
        "constraints": list(spec.constraints),
        "limits": _amounts(spec.limits),
        "requests": _amounts(spec.requests),
        "readOnlyRootFilesystem": spec.read_only_root,
    }
    return {key: value for key, value in fields.items() if value}


def ref_of(function: FunctionObject) -> FunctionRef:
    """Raises `InvalidName` for names that Kubernetes takes and we do not (dots)."""
    return FunctionRef(
        namespace=parse_namespace_name(function.metadata.namespace), name=parse_function_name(function.metadata.name)
    )


def to_spec_struct(function: FunctionObject) -> FunctionSpec:
    """Read what anybody may have written with `kubectl`. Raises `InvalidSpec`, saying which field is wrong."""
    ref = ref_of(function)
    raw = function.spec
    name = raw.get("name", ref.name)
    if name != ref.name:
        raise InvalidSpec(f"spec.name ({name}) must equal metadata.name ({ref.name})")
    image = raw.get("image")
    if not isinstance(image, str) or not image:
        raise InvalidSpec("spec.image: is required")
    try:
        environment = dict(parse_env(*pair) for pair in _texts(raw, "environment").items())
        return FunctionSpec(
            ref=ref,
            image=image,
            process=environment.pop("fprocess", ""),
            env=environment,
            labels=dict(parse_label(*pair) for pair in _texts(raw, "labels").items()),
            annotations=dict(parse_annotation(*pair) for pair in _texts(raw, "annotations").items()),
            secrets=tuple(parse_secret_name(secret) for secret in _list(raw, "secrets")),
            constraints=_list(raw, "constraints"),
            limits=_resources(raw, "limits"),
            requests=_resources(raw, "requests"),
            read_only_root=bool(raw.get("readOnlyRootFilesystem")),
        )
    except InvalidSpec:
        raise
    except HilbertError as exc:
        raise InvalidSpec(f"spec: {exc.message}") from exc


def usable_spec(function: FunctionObject) -> FunctionSpec | None:
    """As much as can be read: it may run, from a time when it was right, and must not be lost sight of. None: nothing."""
    raw, kept = function.spec, {}
    if raw.get("name", function.metadata.name) != function.metadata.name:
        return None
    for field in ("image", *_FIELDS):
        if field in raw:
            kept[field] = raw[field]
            try:
                to_spec_struct(msgspec.structs.replace(function, spec=kept))
            except HilbertError:
                del kept[field]
                if field == "image":
                    return None
    try:
        return to_spec_struct(msgspec.structs.replace(function, spec=kept))
    except HilbertError:
        return None


def _amounts(resources: Resources | None) -> dict[str, str]:
    if resources is None:
        return {}
    amounts = {"memory": resources.memory, "cpu": resources.cpu, **resources.devices}
    return {key: str(amount) for key, amount in amounts.items() if amount is not None}


def _texts(raw: Mapping[str, Any], field: str) -> dict[str, str]:
    value = raw.get(field) or {}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidSpec(f"spec.{field}: must be a map of strings")
    return dict(value)


def _list(raw: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = raw.get(field) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidSpec(f"spec.{field}: must be a list of strings")
    return tuple(value)


def _resources(raw: Mapping[str, Any], field: str) -> Resources | None:
    value = raw.get(field)
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise InvalidSpec(f"spec.{field}: must be a map of resource names to quantities")
    try:
        amounts = {str(key): Quantity.parse(str(amount)) for key, amount in value.items()}
    except HilbertError as exc:
        raise InvalidSpec(f"spec.{field}: {exc.message}") from exc
    return Resources(memory=amounts.pop("memory", None), cpu=amounts.pop("cpu", None), devices=amounts)
