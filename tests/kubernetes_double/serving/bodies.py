"""Bodies of writes: typed, pruned, and for what the path says."""

from __future__ import annotations

from typing import Any

import yaml

from kubernetes_double.checks import validation
from kubernetes_double.objects import fields
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.decode import Decoder, WrongType, as_bad_request
from kubernetes_double.serving.options import WriteOptions
from kubernetes_double.serving.status import ApiError, Json, bad_request, invalid, invalid_object


class _ApplyLoader(yaml.SafeLoader):
    """Times stay text."""


_ApplyLoader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def decode(resource: Resource, body: Json, options: WriteOptions, *, patched: bool = False) -> Json:
    """Typed and pruned; unknown fields become warnings, or 400 when the request is strict."""
    obj = body
    version, kind = obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind
    if not patched and (version, kind) != (resource.api_version, resource.kind):
        raise _other_kind(resource, str(version), str(kind))
    decoder = Decoder(custom=resource.custom is not None)
    try:
        obj = decoder.object(resource.node, obj)
    except WrongType as exc:
        if patched:
            text = fields.compact(_sorted(body))
            cause = invalid("patch", text, str(exc))
            raise invalid_object("", "", "", [cause]) from exc
        raise as_bad_request(resource.kind, resource.version, str(exc)) from exc
    if decoder.problems:
        problems = decoder.problems if resource.custom is None else sorted(decoder.problems)
        if resource.custom is None and patched:
            problems = [problem for problem in problems if not problem.startswith("duplicate")]
        if options.validation == "Strict" and problems:
            text = f"strict decoding error: {', '.join(problems)}"
            raise bad_request(text) if patched else as_bad_request(resource.kind, resource.version, text)
        if options.validation == "Warn":
            options.warnings.extend(problems)
    obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
    obj.setdefault("metadata", {})
    return obj


def _other_kind(resource: Resource, version: str, kind: str) -> ApiError:
    short = version.rpartition("/")[2]
    shown = f'{kind} in version "{short}" cannot be handled as a {resource.kind}: '
    if version == resource.api_version:
        group = resource.group.split(".")[0] or "core"
        api = resource.group.split(".")[0]
        return bad_request(
            f"{shown}converting ({api + '/' if api else ''}{short}.{kind}) to ({group}.{resource.kind}): unknown conversion"
        )
    where = "pkg/api/legacyscheme/scheme.go:30"
    return bad_request(f'{shown}no kind "{kind}" is registered for version "{version}" in scheme "{where}"')


def check_identity(resource: Resource, namespace: str, name: str, obj: Json) -> None:
    """Name and namespace must be those of the path. Raises `ApiError` 400."""
    metadata = obj["metadata"]
    given = metadata.get("namespace")
    if resource.namespaced and given and given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if not resource.namespaced and given and namespace != given:
        metadata.pop("namespace")
    if name and metadata.get("name") and metadata["name"] != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if name:
        metadata.setdefault("name", name)


def parse_apply(resource: Resource, namespace: str, name: str, raw: bytes) -> Json:
    """The configuration of a server-side apply. Raises `ApiError` 400."""
    try:
        config = yaml.load(raw, Loader=_ApplyLoader)
    except yaml.YAMLError as exc:
        raise bad_request(f"error decoding YAML: error converting YAML to JSON: {_go_yaml(exc, raw)}") from exc
    if config is None:
        config = {}
    if not isinstance(config, dict):
        raise bad_request(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{'array' if isinstance(config, list) else 'string'} into Go value of type map[string]interface {{}}"
        )
    version, kind = str(config.get("apiVersion") or ""), str(config.get("kind") or "")
    if (version, kind) != (resource.api_version, resource.kind):
        raise bad_request(f"invalid object type: {version or '/'}, Kind={kind}")
    metadata = config.get("metadata") or {}
    check_identity(resource, namespace, name, {"metadata": metadata})
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    return config


def typed_config(resource: Resource, config: Json) -> Json:
    """Along its schema, nothing unknown allowed. Raises `ApiError` 500, as the server does."""
    problems: list[str] = []
    typed = validation.typed(resource.node, config, "", problems)
    if not problems:
        return typed
    prefix = f"failed to create typed patch object ({'/'.join(_where(config))}; {resource.api_version}, Kind={resource.kind}): "
    if len(problems) == 1:
        raise ApiError(500, prefix + problems[0])
    raise ApiError(500, prefix + "errors:\n" + "\n".join(f"  {problem}" for problem in problems))


def must_have_version(resource: Resource, name: str) -> ApiError:
    """422 for an update without a version, where the kind demands one."""
    text = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    cause = {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: 0: must be specified for an update",
        "field": "metadata.resourceVersion",
    }
    shown = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    details: Json = {"name": name, "group": resource.group, "kind": resource.plural, "causes": [cause]}
    return ApiError(422, f'{shown} "{name}" is invalid: {text}', reason="Invalid", details=details)


def _where(config: Json) -> tuple[str, str]:
    metadata = config.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: inner if key == "managedFields" else _sorted(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _go_yaml(error: yaml.YAMLError, raw: bytes) -> str:
    mark = getattr(error, "problem_mark", None)
    line = (mark.line if mark is not None else 0) + 1
    problem = str(getattr(error, "problem", error))
    if raw.lstrip().startswith(b"{"):
        return f"yaml: line {line}: did not find expected ',' or '}}'"
    if "expected the node content" in problem:
        problem = "did not find expected node content"
    return f"yaml: line {line}: {problem}"


def ordered(resource: Resource, obj: Json) -> Json:
    """With kind, apiVersion and metadata in front."""
    rest = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata")}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": obj["metadata"], **rest}


def same(old: Json, new: Json) -> bool:
    """Whether a write would change nothing but the times of ownership."""
    if old == new:
        return True

    def timeless(obj: Json) -> Json:
        metadata = dict(obj["metadata"])
        metadata["managedFields"] = [
            {key: value for key, value in entry.items() if key != "time"}
            for entry in metadata.get("managedFields") or ()
        ]
        return {**obj, "metadata": metadata}

    return timeless(old) == timeless(new)
