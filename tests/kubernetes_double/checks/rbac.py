"""RBAC: rules from roles and bindings, the roles that are there from the start, and the guard against escalation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes_double.serving.status import Json, forbidden, not_found

if TYPE_CHECKING:
    from kubernetes_double.storage.engine import Engine

GROUP: Final = "rbac.authorization.k8s.io"
MASTERS: Final = "system:masters"
_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class User:
    """A name and its groups."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Action:
    """What someone wants to do."""

    verb: str
    group: str = ""
    resource: str = ""
    sub: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""
    """Of a request that is for no resource."""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.sub}" if self.sub else self.resource


@dataclass(frozen=True)
class Grant:
    """One binding that names a user, and the rules it gives; no rules and an error when its role is not there."""

    binding: Json
    subject: str
    rules: tuple[Json, ...]
    missing: str = ""

    @property
    def reason(self) -> str:
        metadata, reference = self.binding["metadata"], self.binding["roleRef"]
        name = f"{metadata['name']}/{metadata['namespace']}" if metadata.get("namespace") else metadata["name"]
        return f'RBAC: allowed by {self.binding["kind"]} "{name}" of {reference["kind"]} "{reference["name"]}" to {self.subject}'


def _one_of(wanted: str, allowed: Sequence[str]) -> bool:
    return "*" in allowed or wanted in allowed


def allows(rule: Json, action: Action) -> bool:
    if not _one_of(action.verb, rule.get("verbs") or ()):
        return False
    if action.path:
        paths = rule.get("nonResourceURLs") or ()
        return any(p in ("*", action.path) or (p.endswith("*") and action.path.startswith(p[:-1])) for p in paths)
    if not _one_of(action.group, rule.get("apiGroups") or ()):
        return False
    resources = rule.get("resources") or ()
    if not (_one_of(action.full_resource, resources) or (action.sub and f"*/{action.sub}" in resources)):
        return False
    names = rule.get("resourceNames") or ()
    return not names or action.name in names


def _subject(binding: Json, user: User, namespace: str) -> str:
    """How the binding names the user; empty when it does not."""
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
            return f'{kind} "{name}"'
        if kind == "ServiceAccount":
            space = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{space}:{name}":
                return f'{kind} "{name}/{space}"'
    return ""


_AGGREGATED = ("admin", "edit", "view")


class Rules:
    """What the store says of rights."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """Of `user` in `namespace` (empty: at the cluster scope)."""
        store = self._engine.store
        for _, item in store.collection(f"clusterrolebindings.{GROUP}").items():
            yield from self._grant(item.obj, user, "")
        if namespace:
            for _, item in store.collection(f"rolebindings.{GROUP}").items(namespace):
                yield from self._grant(item.obj, user, namespace)

    def _grant(self, binding: Json, user: User, namespace: str) -> Iterator[Grant]:
        subject = _subject(binding, user, namespace)
        if not subject:
            return
        role = self.role(binding["roleRef"], namespace)
        if role is None:
            reference = binding["roleRef"]
            yield Grant(
                binding, subject, (), f'{str(reference["kind"]).lower()}.{GROUP} "{reference["name"]}" not found'
            )
            return
        yield Grant(binding, subject, (*(role.get("rules") or ()), *self._aggregated(binding["roleRef"]["name"])))

    def _aggregated(self, name: str) -> Iterator[Json]:
        """Rules of the ClusterRoles whose labels add them to one of the roles that every cluster has.

        A real server's controller writes them into the role; here they are looked up.
        """
        if name not in _AGGREGATED:
            return
        label = f"{GROUP}/aggregate-to-{name}"
        for _, item in self._engine.store.collection(f"clusterroles.{GROUP}").items():
            if (item.obj["metadata"].get("labels") or {}).get(label) == "true":
                yield from item.obj.get("rules") or ()

    def role(self, reference: Json, namespace: str) -> Json | None:
        if reference.get("kind") == "ClusterRole":
            return self._engine.peek("clusterroles", "", reference["name"], group=GROUP)
        return self._engine.peek("roles", namespace, reference["name"], group=GROUP)

    def find(self, user: User, action: Action) -> Grant | None:
        """The grant that allows `action`."""
        for grant in self.grants(user, action.namespace):
            if any(allows(rule, action) for rule in grant.rules):
                return grant
        return None

    def missing(self, user: User, namespace: str) -> list[str]:
        return [grant.missing for grant in self.grants(user, namespace) if grant.missing]

    # Escalation

    def guard(self, user: User, plural: str, namespace: str, obj: Json) -> None:
        """Nobody gives what they do not have. Raises `ApiError` 403, or 404 for a binding to a role that is not there."""
        if MASTERS in user.groups:
            return
        verb = "bind" if plural.endswith("bindings") else "escalate"
        name = obj["metadata"].get("name", "")
        if plural.endswith("bindings"):
            reference = obj["roleRef"]
            target = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
            if self.find(user, Action(verb, GROUP, target, name=reference["name"], namespace=namespace)):
                return
            role = self.role(reference, namespace)
            if role is None:
                raise not_found(GROUP, plural, reference["name"])
            wanted = role.get("rules") or ()
        else:
            if self.find(user, Action(verb, GROUP, plural, name=name, namespace=namespace)):
                return
            wanted = obj.get("rules") or ()
        held = [rule for grant in self.grants(user, namespace) for rule in grant.rules]
        lacking = [rule for rule in wanted if not _covered(rule, held)]
        if not lacking:
            return
        groups = " ".join(f'"{group}"' for group in user.groups)
        text = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
        text += "\n".join(sorted(_shown(rule) for rule in lacking))
        missing = [grant.binding["roleRef"]["name"] for grant in self.grants(user, namespace) if grant.missing]
        if missing:
            listed = ", ".join(f'{plural}.{GROUP} "{role}" not found' for role in missing)
            text += f"; resolution errors: [{listed}]"
        raise forbidden(GROUP, plural, name, text)


def _covered(rule: Json, held: list[Json]) -> bool:
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            if not any(allows(own, Action(verb, path=path)) for own in held):
                return False
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                plural, _, sub = resource.partition("/")
                for name in rule.get("resourceNames") or ("",):
                    action = Action(verb, group, plural, sub, name)
                    if not any(allows(own, action) and (name or not own.get("resourceNames")) for own in held):
                        return False
    return True


def _quoted(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _shown(rule: Json) -> str:
    parts = []
    for key, name in (
        ("nonResourceURLs", "NonResourceURLs"),
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("verbs", "Verbs"),
    ):
        if rule.get(key):
            parts.append(f"{name}:{_quoted(rule[key])}")
    return "{" + ", ".join(parts) + "}"


def bootstrap() -> Iterator[Json]:
    """Roles and bindings that every cluster has from the start; the large aggregated ones in part."""
    read = ["get", "list", "watch"]
    workloads = ["configmaps", "endpoints", "persistentvolumeclaims", "pods", "serviceaccounts", "services"]
    editing = [
        {"apiGroups": [""], "resources": [*workloads, "secrets", "pods/log"], "verbs": _VERBS},
        {
            "apiGroups": ["apps"],
            "resources": ["deployments", "deployments/scale", "replicasets", "statefulsets"],
            "verbs": _VERBS,
        },
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies", "ingresses"], "verbs": _VERBS},
        {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _VERBS},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": _VERBS},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": read},
    ]
    admin = [*editing, {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": _VERBS}]
    roles: list[tuple[str, list[Any]]] = [
        (
            "cluster-admin",
            [
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ],
        ),
        (
            "system:basic-user",
            [
                {
                    "apiGroups": ["authorization.k8s.io"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    "verbs": ["create"],
                },
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ],
        ),
        (
            "system:discovery",
            [
                {
                    "nonResourceURLs": [
                        *(
                            "/api",
                            "/api/*",
                            "/apis",
                            "/apis/*",
                            "/healthz",
                            "/livez",
                            "/openapi",
                            "/openapi/*",
                            "/readyz",
                        ),
                        *("/version", "/version/"),
                    ],
                    "verbs": ["get"],
                }
            ],
        ),
        (
            "system:public-info-viewer",
            [{"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}],
        ),
        (
            "system:service-account-issuer-discovery",
            [
                {
                    "nonResourceURLs": [
                        *("/.well-known/openid-configuration", "/.well-known/openid-configuration/"),
                        *("/openid/v1/jwks", "/openid/v1/jwks/"),
                    ],
                    "verbs": ["get"],
                }
            ],
        ),
        ("view", [{"apiGroups": [""], "resources": [*workloads, "namespaces"], "verbs": read}]),
        ("edit", editing),
        ("admin", admin),
    ]
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    notes = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    for name, rules in roles:
        own = {**labels, "rbac.authorization.k8s.io/aggregate-to-edit": "true"} if name == "view" else labels
        metadata = {"name": name, "labels": own, "annotations": notes}
        yield {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    bindings = {
        "cluster-admin": [MASTERS],
        "system:basic-user": ["system:authenticated"],
        "system:discovery": ["system:authenticated"],
        "system:public-info-viewer": ["system:authenticated", "system:unauthenticated"],
        "system:service-account-issuer-discovery": ["system:serviceaccounts"],
    }
    for name, groups in bindings.items():
        yield {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": labels, "annotations": notes},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups],
        }
