"""From a path and a method to an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from kubernetes_double.checks.rbac import GROUP, Action, User
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving import discovery, listing, metrics, negotiation, protobuf, reviews, subresources, tables
from kubernetes_double.serving.app import Answer, Call
from kubernetes_double.serving.decode import parse_body
from kubernetes_double.serving.negotiation import Form
from kubernetes_double.serving.options import WriteOptions, delete_options, integer, list_options, truth, write_options
from kubernetes_double.serving.status import (
    ApiError,
    Json,
    PlainError,
    bad_request,
    go_quote,
    method_not_allowed,
    no_such_path,
    throttled,
)
from kubernetes_double.serving.watching import Dress, Watch
from kubernetes_double.storage.store import Item

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

_PATCHES = {
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
}
_APPLY = "application/apply-patch+yaml"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_BODIES = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


def _unknown_format() -> ApiError:
    return ApiError(
        415,
        f"the body of the request was in an unknown format - accepted media types include: {_BODIES}",
        reason="UnsupportedMediaType",
    )


class Target:
    """What a path names."""

    def __init__(
        self, resource: Resource, namespace: str, name: str, sub: str, *, rest: str = "", watch: bool = False
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.name = name
        self.sub = sub
        self.rest = rest
        self.watch = watch


class Handlers:
    """The verbs over HTTP."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.engine = server.engine
        self.access = server.access

    async def handle(self, call: Call) -> Answer:
        if call.path.startswith("/-/"):
            # Clients that send no credentials over plain HTTP (kubectl) carry their token in the path.
            _, _, token, rest = call.path.split("/", 3)
            call.path = f"/{rest}"
            if "authorization" not in call.headers:
                call.headers = {**call.headers, "authorization": f"Bearer {token}"}
        if "//" in call.path:
            raise PlainError(404, "404 page not found\n")
        user = self.access.authenticate(call, reject=self.server.chaos.reject_tokens)
        call.user, call.groups = user.name, user.groups
        path = call.path.rstrip("/") or "/"
        words = path.strip("/").split("/")
        is_resource = (words[0] == "api" and len(words) > 2) or (words[0] == "apis" and len(words) > 3)
        if not is_resource:
            action = Action({"HEAD": "get"}.get(call.method, call.method.lower()), path=call.path)
            self.access.require(self._acting(user, call, action), action)
            return discovery.answer(self.server, call, path)
        return await self._resource(call, user, words)

    def _target(self, words: Sequence[str]) -> Target:
        group, version, rest = (
            ("", words[1], list(words[2:])) if words[0] == "api" else (words[1], words[2], list(words[3:]))
        )
        registry = self.engine.registry
        if group and group not in discovery.all_groups(registry):
            raise PlainError(404, "404 page not found\n")
        watch = rest[0] == "watch"
        if watch:
            rest = rest[1:]
        namespace = ""
        if (
            len(rest) > 2
            and rest[0] == "namespaces"
            and not (len(rest) == 3 and not group and rest[2] in ("status", "finalize"))
        ):
            namespace, rest = rest[1], rest[2:]
        if not rest:
            raise no_such_path()
        resource = registry.find(group, version, rest[0])
        if resource is None or (namespace and not resource.namespaced):
            raise no_such_path()
        name, sub = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
        if sub and sub not in resource.subresources:
            raise no_such_path()
        if name and resource.namespaced and not namespace:
            raise no_such_path()
        return Target(resource, namespace, name, sub, rest="/".join(rest[3:]), watch=watch)

    def _acting(self, user: User, call: Call, action: Action) -> User:
        acting = self.access.acting(user, call, action)
        call.user, call.groups = acting.name, acting.groups
        return acting

    @staticmethod
    def _asked(words: Sequence[str], call: Call) -> Action:
        """What a path asks for, whether there is such a resource or not."""
        group, rest = ("", list(words[2:])) if words[0] == "api" else (words[1], list(words[3:]))
        watching = rest[0] == "watch" or truth(call.query.get("watch", ""))
        if rest[0] == "watch":
            rest = rest[1:]
        namespace = ""
        if (
            len(rest) > 2
            and rest[0] == "namespaces"
            and not (len(rest) == 3 and not group and rest[2] in ("status", "finalize"))
        ):
            namespace, rest = rest[1], rest[2:]
        plural, name, sub = (*rest, "", "", "")[:3]
        if plural == "namespaces" and not group:
            namespace = name
        if not name:
            found = [t for t in call.query.get("fieldSelector", "").split(",") if t.startswith("metadata.name=")]
            name_asked = found[0].removeprefix("metadata.name=").lstrip("=") if found else ""
        else:
            name_asked = name
        read = "get" if name else ("watch" if watching else "list")
        delete = "delete" if name else "deletecollection"
        verbs = {"GET": read, "HEAD": read, "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": delete}
        if call.method in ("POST", "PUT", "PATCH") and not name:
            name_asked = ""
        return Action(verbs.get(call.method, call.method.lower()), group, plural, sub, name_asked, namespace)

    @staticmethod
    def _verb(call: Call, target: Target) -> str:
        watching = target.watch or (not target.name and truth(call.query.get("watch", "")))
        read = "get" if target.name else ("watch" if watching else "list")
        if target.watch:
            read = "watch"
        delete = "delete" if target.name else "deletecollection"
        verbs = {"GET": read, "HEAD": read, "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": delete}
        return verbs.get(call.method, call.method.lower())

    async def _resource(self, call: Call, user: User, words: Sequence[str]) -> Answer:
        asked = self._asked(words, call)
        user = self._acting(user, call, asked)
        self.access.require(user, asked)
        if asked.group == metrics.GROUP and self.server.metrics.enabled:
            return self.encoded(200, self.server.metrics.answer(asked.resource, asked.namespace, asked.name), Form())
        target = self._target(words)
        resource = target.resource
        verb = self._verb(call, target)
        if call.method in ("OPTIONS", "CONNECT", "TRACE") or (call.method == "HEAD" and not target.name):
            raise method_not_allowed()
        if resource.custom is not None and not self.server.is_ready(resource):
            raise throttled(1, "storage is (re)initializing")
        form = negotiation.negotiate(call.headers.get("accept", ""))
        if resource.group in ("authorization.k8s.io", "authentication.k8s.io"):
            return self._review(call, resource, user, form)
        if target.sub:
            return await subresources.handle(self, call, target, user, form)
        if verb in ("get", "list", "watch"):
            return await self._read(call, target, verb, form)
        needs_name = {"POST": False, "PUT": True, "PATCH": True}.get(call.method)
        if verb not in resource.verbs or (needs_name is not None and needs_name != bool(target.name)):
            raise method_not_allowed()
        if call.method == "POST" and resource.namespaced and not target.namespace:
            raise method_not_allowed()
        return await self._write(call, target, verb, user, form)

    def _review(self, call: Call, resource: Resource, user: User, form: Form) -> Answer:
        if call.method != "POST":
            raise method_not_allowed()
        body, _ = self.body(call, resource, user, "CreateOptions")
        credential = call.headers.get("authorization", "")
        return self.encoded(201, reviews.answer(self.access, resource, user, body, credential), form)

    # Reading

    async def _read(self, call: Call, target: Target, verb: str, form: Form) -> Answer:
        resource = target.resource
        store = self.engine.store
        if verb == "get":
            await listing.wait_for(store, call.query.get("resourceVersion", ""), patience=self.server.pace.patience)
            item = self.engine.find(resource, target.namespace, target.name)
            return self.one(200, resource, item, form, call)
        if verb not in resource.verbs:
            raise method_not_allowed()
        integer(call.query, "limit")
        options = list_options(call.query, watching=verb == "watch")
        collection = store.collection(resource.key)
        if target.name:
            options.field_selector = f"metadata.name={target.name}"
        matches = listing.matcher(options, resource)
        if verb == "watch":
            return self._watch(call, target, form, options, matches)
        if not options.more:
            await listing.wait_for(store, options.version, patience=self.server.pace.patience)
        page = listing.page(store, collection, resource, target.namespace, options)
        return self._page(resource, page, form, call)

    def _watch(self, call: Call, target: Target, form: Form, options: Any, matches: Any) -> Answer:
        resource = target.resource
        version = options.version
        if version and not version.isdigit():
            text = (
                f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
            )
            raise ApiError(500, text)
        call.watch = True
        dress, mark = self._dress(resource, form, call)
        watch = Watch(
            self.engine.store,
            self.engine.store.collection(resource.key),
            target.namespace,
            options,
            matches,
            self.server.chaos,
            dress=dress,
            mark=mark,
            scale=self.server.pace.watch_scale,
            resource_key=resource.key,
        )
        return Answer(200, stream=watch.lines())

    def _dress(self, resource: Resource, form: Form, call: Call) -> tuple[Dress, Callable[[Json], bytes]]:
        """What makes the objects of events and of bookmarks."""
        encode = msgspec.json.encode
        if form.as_ == "Table":
            first = [True]

            def once(table: Json) -> bytes:
                if not first[0]:
                    table["columnDefinitions"] = None
                first[0] = False
                return encode(table)

            return (
                lambda item: once(tables.table(resource, [item], {"resourceVersion": str(item.version)}, call.query)),
                lambda metadata: once(tables.bookmark(resource, metadata)),
            )
        if form.as_:
            return (
                lambda item: encode(negotiation.partial(item.obj)),
                lambda metadata: encode(negotiation.partial({"metadata": metadata})),
            )

        def mark(metadata: Json) -> bytes:
            return encode({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})

        if resource.custom is not None:
            return lambda item: encode(self.versioned(resource, item.obj)), mark
        return lambda item: item.whole, mark

    def _page(self, resource: Resource, page: listing.Page, form: Form, call: Call) -> Answer:
        if form.as_ == "Table":
            return self.encoded(200, tables.table(resource, page.items, page.metadata, call.query), form)
        if form.as_:
            items = [negotiation.partial(item.obj) for item in page.items]
            kind = "PartialObjectMetadataList"
            value = {"kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": page.metadata, "items": items}
            return self.encoded(200, value, form)
        head: Json = {"kind": resource.list_kind or f"{resource.kind}List", "apiVersion": resource.api_version}
        head["metadata"] = page.metadata if resource.custom is None else {"continue": "", **page.metadata}
        if form.media == "application/yaml":
            return self.encoded(200, {**head, "items": [item.obj for item in page.items]}, form)
        if resource.custom is not None:
            pieces = [msgspec.json.encode(self.versioned(resource, item.obj)) for item in page.items]
        else:
            pieces = [item.bare for item in page.items]
        return Answer(200, msgspec.json.encode(head)[:-1] + b',"items":[' + b",".join(pieces) + b"]}")

    @staticmethod
    def versioned(resource: Resource, obj: Json) -> Json:
        """A stored custom object under the version of the request."""
        return obj if obj["apiVersion"] == resource.api_version else {**obj, "apiVersion": resource.api_version}

    def one(
        self, status: int, resource: Resource, item: Item, form: Form, call: Call, warnings: Sequence[str] = ()
    ) -> Answer:
        if form.as_ == "Table":
            metadata = {"resourceVersion": item.obj["metadata"].get("resourceVersion", "")}
            answer = self.encoded(status, tables.table(resource, [item], metadata, call.query), form)
        elif form.as_:
            answer = self.encoded(status, negotiation.partial(item.obj), form)
        elif form.media == "application/yaml":
            answer = self.encoded(status, item.obj, form)
        elif resource.custom is not None:
            answer = self.encoded(status, self.versioned(resource, item.obj), form)
        else:
            answer = Answer(status, item.whole)
        answer.headers.extend(("Warning", f"299 - {go_quote(text)}") for text in warnings)
        return answer

    @staticmethod
    def encoded(status: int, value: Any, form: Form) -> Answer:
        if form.media == "application/yaml":
            return Answer(status, negotiation.as_yaml(value), "application/yaml")
        return Answer(status, msgspec.json.encode(value))

    # Writing

    async def _write(self, call: Call, target: Target, verb: str, user: User, form: Form) -> Answer:
        resource, namespace, name = target.resource, target.namespace, target.name
        if verb in ("delete", "deletecollection"):
            return self._delete(call, target, user, form)
        if verb == "patch":
            obj, created, warnings = self.patched(call, target, user)
            return self.one(201 if created else 200, resource, _item(obj), form, call, warnings)
        body, options = self.body(call, resource, user, "CreateOptions" if verb == "create" else "UpdateOptions")
        if resource.group == GROUP:
            self.access.grants.guard(user, resource.plural, namespace, body)
        if verb == "create":
            await self.server.before_create(resource, namespace)
            obj, created = self.engine.create(resource, namespace, body, options), True
        else:
            obj, created = self.engine.put(resource, namespace, name, body, options)
        return self.one(201 if created else 200, resource, _item(obj), form, call, options.warnings)

    def body(self, call: Call, resource: Resource, user: User, kind: str, *, body_kind: str = "") -> tuple[Json, Any]:
        if call.content_type not in ("", "application/json", "application/yaml", _PROTOBUF):
            raise _unknown_format()
        options = write_options(call.query, kind, user=user.name, groups=user.groups, agent=call.agent)
        return _parsed(call, body_kind or resource.kind), options

    def patch_options(self, call: Call, target: Target, user: User) -> WriteOptions:
        """Raises `ApiError` 415 and 422."""
        resource, kind = target.resource, call.content_type
        allowed = _PATCHES - {"application/strategic-merge-patch+json"} if resource.custom is not None else _PATCHES
        if kind not in allowed:
            if resource.custom is not None:
                listed = f"application/json-patch+json, application/merge-patch+json, {_APPLY}"
                raise ApiError(
                    415,
                    f"the body of the request was in an unknown format - accepted media types include: {listed}",
                    reason="UnsupportedMediaType",
                )
            raise ApiError(415, "415: Unsupported Media Type", reason="UnsupportedMediaType", details={})
        return write_options(
            call.query, "PatchOptions", user=user.name, groups=user.groups, agent=call.agent, is_apply=kind == _APPLY
        )

    def patched(self, call: Call, target: Target, user: User) -> tuple[Json, bool, list[str]]:
        resource, kind = target.resource, call.content_type
        options = self.patch_options(call, target, user)
        arguments = (resource, target.namespace, target.name)
        if resource.group == GROUP and not target.sub:
            self._guard_patch(call, target, user, options)
        if kind == _APPLY:
            obj, created = self.engine.apply(*arguments, call.body, options, target.sub)
            return obj, created, options.warnings
        return self.engine.patch(*arguments, call.body, kind, options, target.sub), False, options.warnings

    def _guard_patch(self, call: Call, target: Target, user: User, options: WriteOptions) -> None:
        """What would come of the patch must give nobody more than they have; rights that stay are not asked about."""
        resource = target.resource
        arguments = (resource, target.namespace, target.name)
        rehearsal = replace(options, dry_run=True)
        if call.content_type == _APPLY:
            obj, _ = self.engine.apply(*arguments, call.body, rehearsal, target.sub)
        else:
            obj = self.engine.patch(*arguments, call.body, call.content_type, rehearsal, target.sub)
        before = self.engine.peek(resource.plural, target.namespace, target.name, group=GROUP) or {}
        if any(obj.get(field) != before.get(field) for field in ("rules", "roleRef", "subjects")):
            self.access.grants.guard(user, resource.plural, target.namespace, obj)

    def _delete(self, call: Call, target: Target, user: User, form: Form) -> Answer:
        resource, namespace = target.resource, target.namespace
        body: Json = {}
        if call.body.strip():
            if call.content_type not in ("", "application/json", "application/yaml", _PROTOBUF):
                raise _unknown_format()
            body = _parsed(call, "DeleteOptions")
        options = delete_options(body, call.query)
        who = write_options({}, "UpdateOptions", user=user.name, groups=user.groups, agent=call.agent)
        if target.name:
            obj, status = self.engine.delete(resource, namespace, target.name, options, who)
            if obj.get("kind") == "Status":
                return self.encoded(status, obj, Form(form.media))
            return self.one(status, resource, _item(obj), form, call)
        if resource.namespaced and not namespace:
            raise method_not_allowed()
        page = listing.page(
            self.engine.store,
            self.engine.store.collection(resource.key),
            resource,
            namespace,
            list_options(call.query, watching=False),
        )
        for item in page.items:
            self.engine.delete(resource, namespace, item.obj["metadata"]["name"], options, who)
        return self._page(resource, page, form, call)


def _parsed(call: Call, kind: str) -> Json:
    if call.content_type != _PROTOBUF:
        return parse_body(call.body, call.content_type, kind)
    try:
        return protobuf.decode(call.body)
    except (ValueError, KeyError, IndexError) as exc:
        raise bad_request(f"a body in protobuf that the double does not read: {exc}") from exc


def _item(obj: Json) -> Item:
    version = obj["metadata"].get("resourceVersion", "")
    return Item(obj, int(version) if version.isdigit() else 0)
