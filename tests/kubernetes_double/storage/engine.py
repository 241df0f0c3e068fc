"""The verbs on stored objects: create, update, patch, apply, delete; what a write goes through before it is stored."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

from kubernetes_double.checks import validation
from kubernetes_double.checks.admission import Admission, Request
from kubernetes_double.objects import defaults, fields, kinds, managed, patch, schema
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.resources import Registry, Resource
from kubernetes_double.serving.bodies import (
    check_identity,
    decode,
    must_have_version,
    ordered,
    parse_apply,
    same,
    typed_config,
)
from kubernetes_double.serving.decode import parse_json
from kubernetes_double.serving.options import DeleteOptions, WriteOptions
from kubernetes_double.serving.status import (
    ApiError,
    Json,
    already_exists,
    bad_request,
    conflict,
    invalid_object,
    not_found,
)
from kubernetes_double.storage.deletion import Deleter
from kubernetes_double.storage.store import Item, Store, copied

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


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
        self._deleter = Deleter(self)
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
        obj = decode(resource, body, options)
        check_identity(resource, namespace, "", obj)
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
            return ordered(resource, obj)
        stored = self.store.put(resource.key, key, ordered(resource, obj)).obj
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
            obj = decode(resource, body, options)
            check_identity(resource, namespace, name, obj)
            return self._insert(resource, namespace, obj, options), True
        return self.update(resource, namespace, name, body, options), False

    def update(
        self, resource: Resource, namespace: str, name: str, body: Json, options: WriteOptions, sub: str = ""
    ) -> Json:
        """PUT of what is there, or of one of its subresources."""
        obj = decode(resource, body, options)
        check_identity(resource, namespace, name, obj)
        old = self.find(resource, namespace if resource.namespaced else "", name).obj
        version = obj["metadata"].get("resourceVersion")
        if version and not version.isdigit():
            raise ApiError(500, f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if not version and not resource.unconditional_update:
            raise must_have_version(resource, name)
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
        new = decode(resource, new, options, patched=True)
        check_identity(resource, namespace, name, new)
        return self._replace(resource, namespace, name, old, new, options, sub, patched=True)

    def apply(
        self, resource: Resource, namespace: str, name: str, raw: bytes, options: WriteOptions, sub: str = ""
    ) -> tuple[Json, bool]:
        """Server-side apply; True when the object was created."""
        config = parse_apply(resource, namespace, name, raw)
        space = namespace if resource.namespaced else ""
        item = self.store.collection(resource.key).get((space, name))
        if item is None and sub:
            raise not_found(resource.group, resource.plural, name)
        typed = typed_config(resource, config)
        metadata = config.get("metadata") or {}
        if item is None and metadata.get("uid"):
            text = (
                f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
            )
            raise conflict(resource.group, resource.plural, name, text)
        version = metadata.get("resourceVersion")
        if item is not None and version and version != item.obj["metadata"]["resourceVersion"]:
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
        new = decode(resource, copied(outcome.obj), options, patched=True)
        if item is None:
            return self._insert(resource, namespace, new, options, owned=True), True
        if metadata.get("uid"):
            new["metadata"]["uid"] = metadata["uid"]
        return self._replace(resource, namespace, name, item.obj, new, options, sub, patched=True, owned=True), False

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
        ready = ordered(resource, new)
        if "deletionTimestamp" in after and not after.get("finalizers") and not kinds.keeps(resource, new):
            if options.dry_run:
                return ready
            last = self.store.remove(resource.key, key)
            self._deleter.settle(resource, last.obj)
            return ready
        if same(old, ready):
            return old
        if options.dry_run:
            return ready
        stored = self.store.put(resource.key, key, ready).obj
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
        """The answer's body and code: the object when it is still there or its kind is told so, else a Status."""
        return self._deleter.delete(resource, namespace, name, options, who)

    # What every write goes through

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


def _generate(metadata: Json) -> None:
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"][:58] + suffix()


def _identity(resource: Resource, name: str, namespace: str) -> Json:
    metadata: Json = {"name": name}
    if resource.namespaced:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _spec_differs(resource: Resource, old: Json, new: Json) -> bool:
    if resource.plural == "endpointslices":
        return any((old.get(name) or []) != (new.get(name) or []) for name in ("endpoints", "ports"))
    if resource.key == "deployments.apps" and old["metadata"].get("annotations") != new["metadata"].get("annotations"):
        return True
    if resource.custom is None:
        return old.get("spec") != new.get("spec")
    skipped = {"metadata", "status"} if resource.has_status else {"metadata"}
    return {k: v for k, v in old.items() if k not in skipped} != {k: v for k, v in new.items() if k not in skipped}
