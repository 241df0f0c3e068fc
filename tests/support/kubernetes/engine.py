"""The verbs on stored objects: create, update, patch, apply, delete; what a write goes through before it is stored."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from support.kubernetes import defaults, fields, kinds, managed, patch, schema, validation
from support.kubernetes.admission import Admission, Request
from support.kubernetes.decode import Decoder, WrongType, as_bad_request, parse_json
from support.kubernetes.options import DeleteOptions, WriteOptions
from support.kubernetes.resources import Registry, Resource
from support.kubernetes.status import (
    ApiError,
    Json,
    already_exists,
    bad_request,
    conflict,
    invalid,
    invalid_object,
    not_found,
    success,
)
from support.kubernetes.store import Item, Store, copied

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def stamp(moment: datetime | None = None) -> str:
    """RFC 3339 with seconds, as metadata carries times."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def suffix(length: int = 5) -> str:
    """The end of a generated name."""
    return "".join(random.choice(_ALPHABET) for _ in range(length))


class Engine:
    """Every write goes through here, from requests and from controllers alike."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry
        self.official = schema.Official()
        self.admission = Admission(self)
        self.on_definition: Callable[[Json | None, Json | None], None] = lambda old, new: None
        """Called with the states of a CustomResourceDefinition before and after a write."""

    # Reading

    def find(self, resource: Resource, namespace: str, name: str) -> Item:
        """Raises `ApiError` 404."""
        item = self.store.collection(resource.key).get((namespace, name))
        if item is None:
            raise not_found(resource.group, resource.plural, name)
        return item

    def peek(self, plural: str, namespace: str, name: str, *, group: str = "") -> Json | None:
        key = f"{plural}.{group}" if group else plural
        item = self.store.collection(key).get((namespace, name))
        return item.obj if item is not None else None

    # Creating

    def create(self, resource: Resource, namespace: str, body: Json, options: WriteOptions) -> Json:
        obj = self.decode(resource, body, options)
        self._check_identity(resource, namespace, "", obj)
        return self._insert(resource, namespace, obj, options)

    def _insert(
        self, resource: Resource, namespace: str, obj: Json, options: WriteOptions, *, owned: bool = False
    ) -> Json:
        metadata = obj["metadata"]
        if metadata.get("resourceVersion"):
            raise ApiError(500, "resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            metadata["namespace"] = namespace
        if resource.key != "pods":
            _generate(metadata)
        for gone in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(gone, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = stamp()
        if resource.has_generation:
            metadata["generation"] = 1
        if resource.has_status:
            obj.pop("status", None)
        if resource.custom is None:
            defaults.fill(resource.key, obj)
        else:
            resource.custom.fill(obj)
        if not owned:
            managed.after_update(
                resource.node, None, obj, manager=options.manager, api_version=resource.api_version, now=stamp()
            )
        request = Request("CREATE", resource, namespace, obj, None, options)
        self.admission.mutate(request)
        # Refusals of a Pod so far know no more of its name than how it begins.
        _generate(metadata)
        kinds.prepare_create(self, resource, obj)
        self._validate(resource, obj, None)
        key = (namespace if resource.namespaced else "", metadata["name"])
        existing = self.store.collection(resource.key).get(key)
        if existing is not None:
            deleting = "deletionTimestamp" in existing.obj["metadata"]
            raise already_exists(resource.group, resource.plural, metadata["name"], deleting=deleting)
        self.admission.validate(request)
        self._check_official(resource, obj)
        if options.dry_run:
            return self._ordered(resource, obj)
        stored = self.store.put(resource.key, key, self._ordered(resource, obj)).obj
        self.admission.settle(request)
        if resource.key == kinds.DEFINITIONS:
            self.on_definition(None, stored)
        return stored

    # Changing

    def put(
        self, resource: Resource, namespace: str, name: str, body: Json, options: WriteOptions
    ) -> tuple[Json, bool]:
        """PUT of a whole object; True when that created it, which some kinds allow."""
        space = namespace if resource.namespaced else ""
        if resource.created_by_put and self.store.collection(resource.key).get((space, name)) is None:
            obj = self.decode(resource, body, options)
            self._check_identity(resource, namespace, name, obj)
            return self._insert(resource, namespace, obj, options), True
        return self.update(resource, namespace, name, body, options), False

    def update(
        self, resource: Resource, namespace: str, name: str, body: Json, options: WriteOptions, sub: str = ""
    ) -> Json:
        """PUT of what is there, or of one of its subresources."""
        obj = self.decode(resource, body, options)
        self._check_identity(resource, namespace, name, obj)
        old = self.find(resource, namespace if resource.namespaced else "", name).obj
        version = obj["metadata"].get("resourceVersion")
        if version and not version.isdigit():
            raise ApiError(500, f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if not version and not resource.unconditional_update:
            text = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise self._must_have_version(resource, name, text)
        uid = obj["metadata"].get("uid")
        if uid and uid != old["metadata"]["uid"]:
            where = f"/registry/{resource.key if resource.custom else resource.plural}/{namespace}/{name}"
            raise conflict(
                resource.group,
                resource.plural,
                name,
                f"StorageError: invalid object, Code: 4, Key: {where}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}",
            )
        return self._replace(resource, namespace, name, old, obj, options, sub)

    @staticmethod
    def _must_have_version(resource: Resource, name: str, text: str) -> ApiError:
        cause = {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: 0: must be specified for an update",
            "field": "metadata.resourceVersion",
        }
        shown = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        details: Json = {"name": name, "group": resource.group, "kind": resource.plural, "causes": [cause]}
        return ApiError(422, f'{shown} "{name}" is invalid: {text}', reason="Invalid", details=details)

    def patch(
        self, resource: Resource, namespace: str, name: str, raw: bytes, kind: str, options: WriteOptions, sub: str = ""
    ) -> Json:
        """PATCH with a JSON patch, a merge patch or a strategic merge patch (`kind` is the media type)."""
        try:
            change = parse_json(raw)
        except ValueError as exc:
            raise bad_request(f"error decoding patch: {exc}") from exc
        old = self.find(resource, namespace if resource.namespaced else "", name).obj
        if kind == "application/json-patch+json":
            new = patch.json_patch(old, change)
        elif not isinstance(change, dict):
            raise bad_request(
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
            )
        elif kind == "application/merge-patch+json":
            new = copied(patch.merge_patch(old, change))
        else:
            new = copied(patch.strategic(resource.node, old, change))
        new = self.decode(resource, new, options, patched=True)
        self._check_identity(resource, namespace, name, new)
        return self._replace(resource, namespace, name, old, new, options, sub, patched=True)

    def apply(
        self, resource: Resource, namespace: str, name: str, raw: bytes, options: WriteOptions, sub: str = ""
    ) -> tuple[Json, bool]:
        """Server-side apply; True when the object was created."""
        config = self._parse_apply(resource, namespace, name, raw)
        space = namespace if resource.namespaced else ""
        item = self.store.collection(resource.key).get((space, name))
        if item is None and sub:
            raise not_found(resource.group, resource.plural, name)
        typed = self._typed(resource, config)
        metadata = config.get("metadata") or {}
        if item is None and metadata.get("uid"):
            text = (
                f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
            )
            raise conflict(resource.group, resource.plural, name, text)
        if item is not None and metadata.get("resourceVersion"):
            if metadata["resourceVersion"] != item.obj["metadata"]["resourceVersion"]:
                raise conflict(resource.group, resource.plural, name, _MODIFIED)
        live = item.obj if item is not None else {**fields.blank(resource.node), **_identity(resource, name, namespace)}
        outcome = managed.apply(
            resource.node,
            live,
            typed,
            manager=options.manager,
            api_version=resource.api_version,
            force=options.force,
            now=stamp(),
            has_status=resource.has_status,
            subresource=sub,
            is_new=item is None,
        )
        new = self.decode(resource, copied(outcome.obj), options, patched=True)
        if item is None:
            return self._insert(resource, namespace, new, options, owned=True), True
        if metadata.get("uid"):
            new["metadata"]["uid"] = metadata["uid"]
        return self._replace(resource, namespace, name, item.obj, new, options, sub, patched=True, owned=True), False

    def _parse_apply(self, resource: Resource, namespace: str, name: str, raw: bytes) -> Json:
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
        self._check_identity(resource, namespace, name, {"metadata": metadata})
        if metadata.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        return config

    def _typed(self, resource: Resource, config: Json) -> Json:
        problems: list[str] = []
        typed = validation.typed(resource.node, config, "", problems)
        if not problems:
            return typed
        prefix = f"failed to create typed patch object ({'/'.join(_where(config))}; {resource.api_version}, Kind={resource.kind}): "
        if len(problems) == 1:
            raise ApiError(500, prefix + problems[0])
        raise ApiError(500, prefix + "errors:\n" + "\n".join(f"  {problem}" for problem in problems))

    def _replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        old: Json,
        new: Json,
        options: WriteOptions,
        sub: str,
        *,
        patched: bool = False,
        owned: bool = False,
    ) -> Json:
        before, after = old["metadata"], new["metadata"]
        version = after.get("resourceVersion")
        if version and version != before["resourceVersion"]:
            raise conflict(resource.group, resource.plural, name, _MODIFIED)
        after["resourceVersion"] = before["resourceVersion"]
        self._keep_system_fields(resource, old, new, sub, patched=patched)
        if resource.custom is None:
            defaults.fill(resource.key, new)
        else:
            resource.custom.fill(new)
        if not owned:
            managed.after_update(
                resource.node,
                old,
                new,
                manager=options.manager,
                api_version=resource.api_version,
                now=stamp(),
                subresource=sub,
            )
        kinds.prepare_update(self, resource, old, new, sub)
        if resource.has_generation and sub not in ("status", "binding") and _spec_differs(resource, old, new):
            after["generation"] = int(before.get("generation", 0)) + 1
        request = Request("UPDATE", resource, namespace, new, old, options, sub)
        self.admission.mutate(request)
        self._validate(resource, new, old, sub)
        self.admission.validate(request)
        self._check_official(resource, new)
        key = (namespace if resource.namespaced else "", name)
        ready = self._ordered(resource, new)
        if "deletionTimestamp" in after and not after.get("finalizers") and not kinds.keeps(resource, new):
            if options.dry_run:
                return ready
            last = self.store.remove(resource.key, key)
            self._after_removal(resource, last.obj)
            return ready
        if _same(old, ready):
            return old
        if options.dry_run:
            return ready
        stored = self.store.put(resource.key, key, ready).obj
        self.admission.settle(request)
        if resource.key == kinds.DEFINITIONS:
            self.on_definition(old, stored)
        return stored

    def _keep_system_fields(self, resource: Resource, old: Json, new: Json, sub: str, *, patched: bool) -> None:
        before, after = old["metadata"], new["metadata"]
        for name in (
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "generateName",
        ):
            if name in before:
                after[name] = before[name]
            else:
                after.pop(name, None)
        if resource.namespaced:
            after["namespace"] = before["namespace"]
        after.pop("selfLink", None)
        after.setdefault("uid", before["uid"])
        if "managedFields" not in after and "managedFields" in before:
            after["managedFields"] = before["managedFields"]
        if sub == "status":
            kept = {key: value for key, value in old.items() if key not in ("metadata", "status")}
            for key in [key for key in new if key not in ("metadata", "status")]:
                del new[key]
            new.update(copied(kept))
            for name in (
                ("labels", "ownerReferences", "finalizers")
                if resource.custom is None
                else ("labels", "annotations", "ownerReferences", "finalizers")
            ):
                if name in before:
                    after[name] = before[name]
                else:
                    after.pop(name, None)
        elif sub == "binding":
            return
        elif resource.has_status:
            if "status" in old:
                new["status"] = copied(old["status"])
            else:
                new.pop("status", None)

    # Deleting

    def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions, who: WriteOptions
    ) -> tuple[Json, int]:
        space = namespace if resource.namespaced else ""
        item = self.find(resource, space, name)
        obj = item.obj
        self.admission.validate(Request("DELETE", resource, namespace, obj, obj, who))
        metadata = obj["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            raise self._precondition(resource, name, "UID", options.uid, metadata["uid"])
        if options.version and options.version != metadata["resourceVersion"]:
            raise self._precondition(resource, name, "ResourceVersion", options.version, metadata["resourceVersion"])
        if options.dry_run:
            return success(resource.group, resource.plural, name, metadata["uid"]), 200
        finalizers = list(metadata.get("finalizers") or ())
        if options.policy == "Orphan" and "orphan" not in finalizers:
            finalizers.append("orphan")
        if options.policy == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        if options.policy in ("Background", "Foreground"):
            finalizers = [f for f in finalizers if f != "orphan"]
        if options.policy in ("Background", "Orphan"):
            finalizers = [f for f in finalizers if f != "foregroundDeletion"]
        grace = kinds.grace(resource, obj, options.grace)
        waiting = bool(finalizers) or kinds.keeps(resource, obj) or bool(grace)
        if not waiting and resource.key == "pods" and metadata.get("deletionGracePeriodSeconds") != 0:
            # A Pod is marked first, however short its notice.
            self.store.put("pods", (space, name), self._ordered(resource, _marked(obj, 0, generation=True)))
        if not waiting:
            last = self.store.remove(resource.key, (space, name))
            self._after_removal(resource, last.obj)
            if resource.key in kinds.RETURNED:
                return {**last.obj, "metadata": {**last.obj["metadata"]}}, 200
            return success(resource.group, resource.plural, name, metadata["uid"]), 200
        new = copied(obj)
        after = new["metadata"]
        pending = "deletionTimestamp" in metadata
        if not pending or (grace is not None and grace < int(metadata.get("deletionGracePeriodSeconds", 0))):
            seconds = grace or 0
            after["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=seconds))
            if resource.key != "namespaces":
                after["deletionGracePeriodSeconds"] = seconds
            if resource.has_generation and resource.key != kinds.DEFINITIONS and after.get("generation"):
                after["generation"] += 1
        if finalizers:
            after["finalizers"] = finalizers
        else:
            after.pop("finalizers", None)
        kinds.prepare_delete(resource, new)
        if _same(obj, new):
            return obj, 200
        stored = self.store.put(resource.key, (space, name), self._ordered(resource, new)).obj
        if resource.key == kinds.DEFINITIONS:
            self.on_definition(obj, stored)
        return stored, 200

    def _after_removal(self, resource: Resource, last: Json) -> None:
        self.admission.released(resource, last)
        if resource.key == kinds.DEFINITIONS:
            self.on_definition(last, None)

    @staticmethod
    def _precondition(resource: Resource, name: str, what: str, wanted: str, found: str) -> ApiError:
        lost = "deleted and then recreated" if what == "UID" else "modified"
        return ApiError(
            409,
            f"Operation cannot be fulfilled on {resource.kind if not resource.group else f'{resource.kind}.{resource.group}'} "
            f'"{name}": the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). '
            f"The object might have been {lost}",
            reason="Conflict",
            details={"name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.kind},
        )

    # What every body goes through

    def decode(self, resource: Resource, body: Json, options: WriteOptions, *, patched: bool = False) -> Json:
        """Typed and pruned; unknown fields become warnings, or 400 when the request is strict."""
        obj = body
        version, kind = obj.get("apiVersion") or resource.api_version, obj.get("kind") or resource.kind
        if not patched and (version, kind) != (resource.api_version, resource.kind):
            raise self._other_kind(resource, str(version), str(kind))
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
                if patched:
                    raise (
                        bad_request(f"strict decoding error: {', '.join(problems)}")
                        if resource.custom
                        else (bad_request(f"error decoding patch: {text}") if False else invalid_or_bad(resource, text))
                    )
                raise as_bad_request(resource.kind, resource.version, text)
            if options.validation == "Warn":
                options.warnings.extend(problems)
        obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
        obj.setdefault("metadata", {})
        return obj

    @staticmethod
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

    @staticmethod
    def _check_identity(resource: Resource, namespace: str, name: str, obj: Json) -> None:
        metadata = obj["metadata"]
        given = metadata.get("namespace")
        if resource.namespaced and given and given != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if not resource.namespaced and given:
            if namespace != given:
                metadata.pop("namespace")
        if name and metadata.get("name") and metadata["name"] != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if name:
            metadata.setdefault("name", name)

    def _validate(self, resource: Resource, obj: Json, old: Json | None, sub: str = "") -> None:
        causes = validation.metadata(resource, obj, old)
        causes.extend(validation.kind(resource, obj, old))
        if resource.custom is not None:
            causes.extend(resource.custom.check(obj, old, sub))
        if causes:
            raise invalid_object(resource.group, resource.kind, obj["metadata"].get("name", ""), causes)

    def _check_official(self, resource: Resource, obj: Json) -> None:
        if resource.custom is not None:
            return
        complaint = self.official.complaint(obj)
        if complaint is not None:
            raise ApiError(
                500, f"not valid by the official schema of {resource.kind}: {complaint}", reason="InternalError"
            )

    @staticmethod
    def _ordered(resource: Resource, obj: Json) -> Json:
        rest = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata")}
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": obj["metadata"], **rest}


def invalid_or_bad(resource: Resource, text: str) -> ApiError:
    return bad_request(text)


def _marked(obj: Json, seconds: int, *, generation: bool) -> Json:
    """An object that is being deleted."""
    new: Json = copied(obj)
    metadata = new["metadata"]
    metadata["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=seconds))
    metadata["deletionGracePeriodSeconds"] = seconds
    if generation and "deletionTimestamp" not in obj["metadata"] and metadata.get("generation"):
        metadata["generation"] += 1
    return new


def _generate(metadata: Json) -> None:
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"][:58] + suffix()


def _identity(resource: Resource, name: str, namespace: str) -> Json:
    metadata: Json = {"name": name}
    if resource.namespaced:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _where(config: Json) -> tuple[str, str]:
    metadata = config.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _same(old: Json, new: Json) -> bool:
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


def _spec_differs(resource: Resource, old: Json, new: Json) -> bool:
    if resource.plural == "endpointslices":
        return any((old.get(name) or []) != (new.get(name) or []) for name in ("endpoints", "ports"))
    if resource.key == "deployments.apps" and old["metadata"].get("annotations") != new["metadata"].get("annotations"):
        return True
    if resource.custom is None:
        return old.get("spec") != new.get("spec")
    skipped = {"metadata", "status"} if resource.has_status else {"metadata"}
    return {k: v for k, v in old.items() if k not in skipped} != {k: v for k, v in new.items() if k not in skipped}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: inner if key == "managedFields" else _sorted(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


class _ApplyLoader(yaml.SafeLoader):
    """Times stay text."""


_ApplyLoader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _go_yaml(error: yaml.YAMLError, raw: bytes) -> str:
    mark = getattr(error, "problem_mark", None)
    line = (mark.line if mark is not None else 0) + 1
    problem = str(getattr(error, "problem", error))
    if raw.lstrip().startswith(b"{"):
        return f"yaml: line {line}: did not find expected ',' or '}}'"
    if "expected the node content" in problem:
        problem = "did not find expected node content"
    return f"yaml: line {line}: {problem}"
