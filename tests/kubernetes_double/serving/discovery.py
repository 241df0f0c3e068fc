"""Which paths there are: versions, groups, resources, health, OpenAPI."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from kubernetes_double.objects import schema
from kubernetes_double.objects.resources import Registry, Resource
from kubernetes_double.serving import metrics
from kubernetes_double.serving.app import Answer, Call, json_answer, text_answer
from kubernetes_double.serving.status import Json, PlainError, no_such_path

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

_ORDER: Final = (
    *(
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
    ),
    *("batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io"),
    *(
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
    ),
    *("discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io"),
)
_CHECKS: Final = (
    "ping",
    "log",
    "etcd",
    "informer-sync",
    "shutdown",
    "poststarthook/rbac/bootstrap-roles",
    "autoregister-completion",
)
VERSION: Final = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2026-11-23T00:00:00Z",
    "goVersion": "go1.26.10",
    "compiler": "gc",
    "platform": "linux/amd64",
}


def all_groups(registry: Registry) -> dict[str, list[str]]:
    """Groups with their versions, in the order in which the API server names them; the empty group is left out."""
    served = registry.groups()
    found = {group: list(served.get(group) or ["v1"]) for group in _ORDER}
    found["autoscaling"] = ["v2", "v1"]
    for group, versions in served.items():
        if group and group not in found:
            found[group] = versions
    return found


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource(resource: Resource) -> list[Json]:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs) if resource.custom is not None else sorted(resource.verbs),
    }
    if resource.short:
        entry["shortNames"] = list(resource.short)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    digest = hashlib.sha256(f"{resource.group}/{resource.kind}".encode()).hexdigest()[:11]
    entry["storageVersionHash"] = f"{digest}="
    found = [entry]
    for sub in resource.subresources.values():
        below: Json = {"name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced}
        if sub.group:
            below["group"], below["version"] = sub.group, sub.version
        below["kind"], below["verbs"] = sub.kind, sorted(sub.verbs)
        found.append(below)
    return found


def _resources(registry: Registry, group: str, version: str) -> Json:
    served = registry.served(group, version)
    if served is None:
        if version not in all_groups(registry).get(group, ()):
            raise no_such_path()
        served = []
    listed = [entry for resource in served for entry in _resource(resource)]
    if all(resource.custom is None for resource in served):
        listed.sort(key=lambda entry: entry["name"])
    name = f"{group}/{version}" if group else version
    head: Json = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": name, "resources": listed}


def _aggregated(registry: Registry, *, core: bool) -> Json:
    groups = {"": ["v1"]} if core else all_groups(registry)
    items: list[Json] = []
    for group, versions in groups.items():
        listed: list[Json] = []
        for version in versions:
            resources: list[Json] = []
            for resource in registry.served(group, version) or ():
                entry: Json = {
                    "resource": resource.plural,
                    "responseKind": {"group": "", "version": "", "kind": resource.kind},
                    "scope": "Namespaced" if resource.namespaced else "Cluster",
                    "singularResource": resource.singular,
                    "verbs": sorted(resource.verbs),
                }
                if resource.short:
                    entry["shortNames"] = list(resource.short)
                if resource.categories:
                    entry["categories"] = list(resource.categories)
                subs = [
                    {
                        "subresource": sub.name,
                        "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                        "verbs": sorted(sub.verbs),
                    }
                    for sub in resource.subresources.values()
                ]
                if subs:
                    entry["subresources"] = sorted(subs, key=lambda sub: str(sub["subresource"]))
                resources.append(entry)
            listed.append({"version": version, "resources": resources, "freshness": "Current"})
        items.append({"metadata": {"name": group} if group else {}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _openapi(registry: Registry, path: str) -> Answer:
    documents = schema.documents()
    if path == "/openapi/v3":
        paths = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=0"} for name in documents}
        found = json_answer(200, {"paths": paths})
        found.content_type = "text/plain; charset=utf-8"
        return found
    name = path.removeprefix("/openapi/v3/")
    if name in documents:
        return json_answer(200, documents[name])
    raise PlainError(404, "404 page not found\n")


def _health(call: Call, path: str) -> Answer:
    words = path.strip("/").split("/", 1)
    if len(words) > 1 and words[1] not in _CHECKS:
        raise PlainError(404, "404 page not found\n")
    if "verbose" in call.query and len(words) == 1:
        lines = "".join(f"[+]{check} ok\n" for check in _CHECKS)
        return text_answer(200, f"{lines}{words[0]} check passed\n")
    return text_answer(200, "ok")


def answer(server: ApiServer, call: Call, path: str) -> Answer:
    """For every path that names no resource. Raises `PlainError` and `ApiError`."""
    registry = server.engine.registry
    words = path.strip("/").split("/")
    if words[0] in ("healthz", "livez", "readyz"):
        return _health(call, path)
    if path == "/version":
        return json_answer(200, VERSION)
    if path.startswith("/openapi/v3"):
        return _openapi(registry, path)
    if path in ("/api", "/apis") and "as=APIGroupDiscoveryList" in call.headers.get("accept", ""):
        value = _aggregated(registry, core=path == "/api")
        tag = hashlib.sha512(msgspec.json.encode(value)).hexdigest().upper()
        found = json_answer(200, value, {"ETag": f'"{tag}"', "Vary": "Accept", "Cache-Control": "public"})
        found.content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        return found
    if path == "/api":
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": server.address}
        return json_answer(200, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]})
    if words[0] == "api" and len(words) == 2:
        return json_answer(200, _resources(registry, "", words[1]))
    groups = all_groups(registry)
    if server.metrics.enabled:
        groups[metrics.GROUP] = [metrics.VERSION]
        if path == f"/apis/{metrics.GROUP}/{metrics.VERSION}":
            return json_answer(200, server.metrics.discovery())
    if path == "/apis":
        listed = [_group(name, versions) for name, versions in groups.items()]
        return json_answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
    if words[0] == "apis" and words[1] in groups:
        if len(words) == 2:
            return json_answer(200, {"kind": "APIGroup", "apiVersion": "v1", **_group(words[1], groups[words[1]])})
        return json_answer(200, _resources(registry, words[1], words[2]))
    if path == "/":
        return json_answer(200, {"paths": _index(groups)})
    raise PlainError(404, "404 page not found\n")


def _index(groups: dict[str, list[str]]) -> list[str]:
    found = {"/api", "/api/v1", "/apis", "/apis/", "/healthz", "/livez", "/readyz", "/openapi/v3", "/version"}
    found |= {f"/apis/{group}" for group in groups}
    return sorted(found)
