"""Which resources there are: the built-in ones from the OpenAPI documents, custom ones as their definitions come and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from kubernetes_double.objects import schema
from kubernetes_double.serving.status import group_resource

_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SHORT: Final = {
    "configmaps": "cm",
    "customresourcedefinitions": "crd crds",
    "daemonsets": "ds",
    "deployments": "deploy",
    "endpoints": "ep",
    "events": "ev",
    "ingresses": "ing",
    "ipaddresses": "ip",
    "limitranges": "limits",
    "namespaces": "ns",
    "networkpolicies": "netpol",
    "nodes": "no",
    "persistentvolumeclaims": "pvc",
    "persistentvolumes": "pv",
    "poddisruptionbudgets": "pdb",
    "pods": "po",
    "replicasets": "rs",
    "replicationcontrollers": "rc",
    "resourcequotas": "quota",
    "serviceaccounts": "sa",
    "services": "svc",
    "statefulsets": "sts",
    "componentstatuses": "cs",
}
_IN_ALL: Final = frozenset(
    {"daemonsets", "deployments", "pods", "replicasets", "replicationcontrollers", "services", "statefulsets"}
)
_SINGULAR: Final = {
    "endpoints": "endpoints",
    "ingresses": "ingress",
    "ingressclasses": "ingressclass",
    "ipaddresses": "ipaddress",
    "networkpolicies": "networkpolicy",
    "runtimeclasses": "runtimeclass",
    "componentstatuses": "componentstatus",
}
_GENERATION: Final = frozenset(
    {
        *("deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers", "pods"),
        *("networkpolicies", "ingresses", "ingressclasses", "poddisruptionbudgets", "customresourcedefinitions"),
        "endpointslices",
    }
)
_UNCONDITIONAL: Final = frozenset({"leases", "customresourcedefinitions"})
"""Built-in kinds whose updates must carry a version."""


_CREATED_BY_PUT: Final = frozenset(
    {
        *("leases", "events", "services", "endpoints", "limitranges", "nodes"),
        *("roles", "rolebindings", "clusterroles", "clusterrolebindings"),
    }
)
"""Kinds that a PUT creates when they are not there."""


@dataclass(frozen=True, eq=False)
class Subresource:
    """A path below an object, with the kind that it speaks."""

    name: str
    group: str
    version: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(eq=False)
class Resource:
    """One kind of object under one path."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = _VERBS
    singular: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, Subresource] = field(default_factory=dict)
    custom: Any = None
    """The definition of a custom resource's version; None for a built-in."""
    list_kind: str = ""

    @property
    def key(self) -> str:
        """The name under which objects are stored; one for all versions."""
        return group_resource(self.group, self.plural)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_generation(self) -> bool:
        return self.custom is not None or self.plural in _GENERATION

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources

    @property
    def created_by_put(self) -> bool:
        return self.custom is None and self.plural in _CREATED_BY_PUT

    @property
    def unconditional_update(self) -> bool:
        return self.custom is None and self.plural not in _UNCONDITIONAL

    @property
    def node(self) -> schema.Node:
        if self.custom is not None:
            node: schema.Node = self.custom.node
            return node
        return schema.node_of(self.group, self.version, self.kind)


_CONNECT: Final = {"get": "get", "post": "create", "put": "update", "delete": "delete", "patch": "patch"}


def _singular(plural: str, kind: str) -> str:
    return _SINGULAR.get(plural) or kind.lower()


@lru_cache(maxsize=1)
def _built_in() -> dict[tuple[str, str, str], dict[str, Any]]:
    """What the OpenAPI documents say, by group, version and plural."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    actions = {"post": "create", "put": "update", "patch": "patch", "delete": "delete", "get": "get", "list": "list"}
    for base, document in schema.documents().items():
        root = f"/{base}/"
        for path, methods in document["paths"].items():
            rest = path.removeprefix(root)
            namespaced = rest.startswith("namespaces/{namespace}/")
            rest = rest.removeprefix("namespaces/{namespace}/") if namespaced else rest
            parts = rest.split("/")
            if not parts[0] or parts[0] == "watch" or len(parts) > 3:
                continue
            sub = parts[2] if len(parts) == 3 else ""
            if (len(parts) >= 2 and not parts[1].startswith("{")) or sub.startswith("{"):
                continue
            for http, method in methods.items():
                if not isinstance(method, dict) or "x-kubernetes-group-version-kind" not in method:
                    continue
                gvk = method["x-kubernetes-group-version-kind"]
                action = method.get("x-kubernetes-action", "")
                verb = actions.get(action, action)
                words = base.split("/")
                group, version = ("", words[-1]) if words[0] == "api" else (words[1], words[2])
                entry = found.setdefault(
                    (group, version, parts[0]), {"kind": "", "namespaced": False, "verbs": set(), "subs": {}}
                )
                if sub:
                    inner = entry["subs"].setdefault(sub, {"gvk": gvk, "verbs": set()})
                    if verb == "connect":
                        verb = _CONNECT.get(http, "")
                    if verb:
                        inner["verbs"].add(verb)
                    continue
                entry["namespaced"] |= namespaced
                entry["verbs"].add(verb)
                if verb != "list" or not entry["kind"]:
                    entry["kind"] = gvk["kind"]
    return found


class Registry:
    """All resources of one server."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str], dict[str, Resource]] = {}
        for (group, version, plural), entry in _built_in().items():
            if "list" not in entry["verbs"] and "create" not in entry["verbs"]:
                continue
            verbs = set(entry["verbs"])
            if "list" in verbs:
                verbs.add("watch")
            subs = {}
            for name, inner in entry["subs"].items():
                gvk = inner["gvk"]
                own = gvk["group"] == group and gvk["version"] == version
                subs[name] = Subresource(
                    name,
                    "" if own else gvk["group"],
                    "" if own else gvk["version"],
                    gvk["kind"],
                    tuple(sorted(inner["verbs"])),
                )
            self.add(
                Resource(
                    group,
                    version,
                    plural,
                    entry["kind"],
                    entry["namespaced"],
                    verbs=tuple(sorted(verbs)),
                    singular=_singular(plural, entry["kind"]),
                    short=tuple(_SHORT.get(plural, "").split()),
                    categories=("all",) if plural in _IN_ALL else (),
                    subresources=subs,
                )
            )

    def add(self, resource: Resource) -> None:
        self._served.setdefault((resource.group, resource.version), {})[resource.plural] = resource

    def drop(self, group: str, plural: str) -> None:
        for (served_group, version), inside in list(self._served.items()):
            if served_group == group:
                inside.pop(plural, None)
                if not inside:
                    del self._served[served_group, version]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version), {}).get(plural)

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        for resource in self._served.get((group, version), {}).values():
            if resource.kind == kind:
                return resource
        return None

    def named(self, plural: str, group: str = "") -> Resource:
        """Any version of a resource. Raises `KeyError`."""
        for (served_group, _), inside in self._served.items():
            if served_group == group and plural in inside:
                return inside[plural]
        raise KeyError(group_resource(group, plural))

    def groups(self) -> dict[str, list[str]]:
        """Versions by group."""
        found: dict[str, list[str]] = {}
        for group, version in self._served:
            found.setdefault(group, []).append(version)
        return found

    def served(self, group: str, version: str) -> list[Resource] | None:
        inside = self._served.get((group, version))
        return None if inside is None else [inside[name] for name in sorted(inside)]

    def every(self) -> list[Resource]:
        return [resource for inside in self._served.values() for resource in inside.values()]
