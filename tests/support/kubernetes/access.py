"""Who is asking, and whether the rules allow it: tokens, impersonation, RBAC."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from support.kubernetes.status import ApiError, Json, group_resource, unauthorized

if TYPE_CHECKING:
    from support.kubernetes.app import Call
    from support.kubernetes.engine import Engine

_RBAC = "rbac.authorization.k8s.io"
MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    """A name and its groups."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User("admin", (MASTERS, "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


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


class Tokens:
    """Bearer tokens and whose they are."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[User, datetime | None]] = {}

    def issue(self, user: User, *, expires: datetime | None = None) -> str:
        token = f"t-{secrets.token_hex(16)}"
        self._known[token] = (user, expires)
        return token

    def revoke(self, token: str) -> None:
        self._known.pop(token, None)

    def revoke_all(self) -> None:
        self._known.clear()

    def user(self, token: str) -> User | None:
        found = self._known.get(token)
        if found is None or (found[1] is not None and found[1] <= datetime.now(UTC)):
            return None
        return found[0]


class Access:
    """Authentication and authorization of requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens = Tokens()

    def authenticate(self, call: Call, *, reject: bool) -> User:
        """Raises `ApiError` 401; 403 for an impersonation that is not allowed."""
        header = call.headers.get("authorization", "")
        if not header:
            user = ANONYMOUS
        else:
            kind, _, token = header.partition(" ")
            found = self.tokens.user(token.strip()) if kind.lower() == "bearer" and not reject else None
            if found is None:
                raise unauthorized()
            user = found
        wanted = call.headers.get("impersonate-user")
        if wanted is None:
            return user
        groups = tuple(g.strip() for g in call.headers.get("impersonate-group", "").split(",") if g.strip())
        self.require(user, Action("impersonate", resource="users", name=wanted))
        for group in groups:
            self.require(user, Action("impersonate", resource="groups", name=group))
        parts = wanted.split(":")
        if wanted.startswith("system:serviceaccount:") and len(parts) == 4 and not groups:
            return service_account(parts[2], parts[3])
        if wanted != ANONYMOUS.name and "system:authenticated" not in groups:
            groups = (*groups, "system:authenticated")
        return User(wanted, groups)

    def require(self, user: User, action: Action) -> None:
        """Raises `ApiError` 403."""
        if not self.allows(user, action):
            raise self.refusal(user, action)

    @staticmethod
    def refusal(user: User, action: Action) -> ApiError:
        who = f'User "{user.name}" cannot'
        if action.path:
            return ApiError(
                403,
                f'forbidden: {who} {action.verb} path "{action.path}"',
                reason="Forbidden",
                details={},
            )
        scope = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
        full = action.full_resource
        shown = group_resource(action.group, action.resource)
        subject = f'{shown} "{action.name}"' if action.name else shown
        details: Json = {}
        if action.name:
            details["name"] = action.name
        if action.group:
            details["group"] = action.group
        details["kind"] = action.resource
        return ApiError(
            403,
            f'{subject} is forbidden: {who} {action.verb} resource "{full}" in API group "{action.group}" {scope}',
            reason="Forbidden",
            details=details,
        )

    def allows(self, user: User, action: Action) -> bool:
        if MASTERS in user.groups:
            return True
        if action.path and action.verb == "get" and _is_public(action.path, user):
            return True
        if action.resource in ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"):
            return "system:authenticated" in user.groups
        return any(rule_allows(rule, action) for rule in self.rules(user, action.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Json]:
        """The rules that hold for `user` in `namespace` (empty: at the cluster scope)."""
        store = self._engine.store
        for _, item in store.collection(f"clusterrolebindings.{_RBAC}").items():
            if _names(item.obj, user, ""):
                yield from self.role_rules(item.obj["roleRef"], "")
        if not namespace:
            return
        for (space, _), item in store.collection(f"rolebindings.{_RBAC}").items(namespace):
            if _names(item.obj, user, space):
                yield from self.role_rules(item.obj["roleRef"], space)

    def role_rules(self, reference: Json, namespace: str) -> list[Json]:
        if reference.get("kind") == "ClusterRole":
            role = self._engine.peek("clusterroles", "", reference["name"], group=_RBAC)
        else:
            role = self._engine.peek("roles", namespace, reference["name"], group=_RBAC)
        return list((role or {}).get("rules") or ())


def _is_public(path: str, user: User) -> bool:
    health = path in ("/healthz", "/livez", "/readyz", "/version", "/version/") or path.startswith(
        ("/livez/", "/readyz/")
    )
    if health:
        return True
    if "system:authenticated" not in user.groups:
        return False
    return path in ("/api", "/apis", "/openapi/v2", "/openapi/v3") or path.startswith(("/api/", "/apis/", "/openapi/"))


def _names(binding: Json, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount":
            space = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{space}:{name}":
                return True
    return False


def _one_of(wanted: str, allowed: Sequence[str]) -> bool:
    return "*" in allowed or wanted in allowed


def rule_allows(rule: Json, action: Action) -> bool:
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
