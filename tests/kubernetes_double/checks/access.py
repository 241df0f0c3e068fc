"""Who is asking, and whether the rules allow it: tokens, impersonation, refusals."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubernetes_double.checks.rbac import MASTERS, Action, Rules, User
from kubernetes_double.serving.status import ApiError, Json, group_resource, unauthorized

if TYPE_CHECKING:
    from kubernetes_double.serving.app import Call
    from kubernetes_double.storage.engine import Engine

ADMIN = User("admin", (MASTERS, "system:authenticated"))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


@dataclass(frozen=True)
class _Token:
    user: User
    expires: datetime | None
    bound: str
    """uid of the service account that must still be there; empty: of none."""


class Tokens:
    """Bearer tokens and whose they are."""

    def __init__(self) -> None:
        self._known: dict[str, _Token] = {}

    def issue(self, user: User, *, expires: datetime | None = None, bound: str = "") -> str:
        token = f"t-{secrets.token_hex(16)}"
        self._known[token] = _Token(user, expires, bound)
        return token

    def revoke(self, token: str) -> None:
        self._known.pop(token, None)

    def revoke_all(self) -> None:
        self._known.clear()

    def user(self, token: str) -> User | None:
        found = self._known.get(token)
        if found is None or (found.expires is not None and found.expires <= datetime.now(UTC)):
            return None
        return found.user

    def bound(self, token: str) -> str:
        found = self._known.get(token)
        return found.bound if found is not None else ""


class Access:
    """Authentication and authorization of requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens = Tokens()
        self.grants = Rules(engine)

    def authenticate(self, call: Call, *, reject: bool) -> User:
        """Who sent the request, before any impersonation. Raises `ApiError` 401."""
        header = call.headers.get("authorization", "")
        if not header:
            return ANONYMOUS
        kind, _, token = header.partition(" ")
        token = token.strip()
        found = self.tokens.user(token) if kind.lower() == "bearer" and not reject else None
        if found is None:
            raise unauthorized()
        bound = self.tokens.bound(token)
        if bound and self.uid_of(found) != bound:
            raise unauthorized()
        return found

    def acting(self, user: User, call: Call, action: Action) -> User:
        """Who the request is for, after impersonation. Raises `ApiError` 403."""
        wanted = call.headers.get("impersonate-user")
        if wanted is None:
            return user
        groups = tuple(g.strip() for g in call.headers.get("impersonate-group", "").split(",") if g.strip())
        needed = [Action("impersonate", resource="users", name=wanted)]
        needed.extend(Action("impersonate", resource="groups", name=group) for group in groups)
        if not all(self.allows(user, item) for item in needed):
            raise self.refusal(user, replace(action, verb=f"impersonate-on:user-info:{action.verb}"))
        parts = wanted.split(":")
        if wanted.startswith("system:serviceaccount:") and len(parts) == 4 and not groups:
            return service_account(parts[2], parts[3])
        if wanted != ANONYMOUS.name and "system:authenticated" not in groups:
            groups = (*groups, "system:authenticated")
        return User(wanted, groups)

    def uid_of(self, user: User) -> str:
        """uid of a service account; empty for others."""
        parts = user.name.split(":")
        if not user.name.startswith("system:serviceaccount:") or len(parts) != 4:
            return ""
        account = self._engine.peek("serviceaccounts", parts[2], parts[3])
        return str(account["metadata"]["uid"]) if account is not None else ""

    def require(self, user: User, action: Action) -> None:
        """Raises `ApiError` 403."""
        if not self.allows(user, action):
            raise self.refusal(user, action)

    def allows(self, user: User, action: Action) -> bool:
        return MASTERS in user.groups or self.grants.find(user, action) is not None

    def reason(self, user: User, action: Action) -> str:
        grant = None if MASTERS in user.groups else self.grants.find(user, action)
        return grant.reason if grant is not None else ""

    def rules(self, user: User, namespace: str) -> Iterator[Json]:
        for grant in self.grants.grants(user, namespace):
            yield from grant.rules

    def resolution_errors(self, user: User, namespace: str) -> list[str]:
        """Roles that bindings name and that are not there."""
        return self.grants.missing(user, namespace)

    def refusal(self, user: User, action: Action) -> ApiError:
        who = f'User "{user.name}" cannot'
        if action.path:
            return ApiError(403, f'forbidden: {who} {action.verb} path "{action.path}"', reason="Forbidden", details={})
        scope = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
        shown = group_resource(action.group, action.resource)
        subject = f'{shown} "{action.name}"' if action.name else shown
        details: Json = {}
        if action.name:
            details["name"] = action.name
        if action.group:
            details["group"] = action.group
        details["kind"] = action.resource
        text = f'{subject} is forbidden: {who} {action.verb} resource "{action.full_resource}" in API group "{action.group}" {scope}'
        errors = self.resolution_errors(user, action.namespace)
        if errors:
            text += f": RBAC: {', '.join(errors)}"
        return ApiError(403, text, reason="Forbidden", details=details)
