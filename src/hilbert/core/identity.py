"""Who asks, what a right says, and what it is asked about. How callers are told apart and decided on is `hilbert.iam`."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from hilbert.core.values import FunctionRef, NamespaceName

EVERYTHING: Final = "*"
"""As an action: every one. As a resource: the platform and every namespace."""


class Action(enum.StrEnum):
    """What can be done. OpenFaaS's names where it has one; the others are ours."""

    FUNCTION_LIST = "Function:List"
    FUNCTION_GET = "Function:Get"
    FUNCTION_CREATE = "Function:Create"
    FUNCTION_UPDATE = "Function:Update"
    FUNCTION_DELETE = "Function:Delete"
    FUNCTION_SCALE = "Function:Scale"
    FUNCTION_LOGS = "Function:Logs"
    FUNCTION_INVOKE = "Function:Invoke"
    """Call a function that asks its callers who they are, and queue many calls at once."""
    FUNCTION_PAYLOAD = "Function:Payload"
    """See requests and answers of queued calls, which may hold what the namespace's users have sent."""
    NAMESPACE_LIST = "Namespace:List"
    NAMESPACE_GET = "Namespace:Get"
    NAMESPACE_CREATE = "Namespace:Create"
    NAMESPACE_UPDATE = "Namespace:Update"
    NAMESPACE_DELETE = "Namespace:Delete"
    SECRET_LIST = "Secret:List"  # noqa: S105 - an action
    SECRET_CREATE = "Secret:Create"  # noqa: S105
    SECRET_UPDATE = "Secret:Update"  # noqa: S105
    SECRET_DELETE = "Secret:Delete"  # noqa: S105
    TOKEN_LIST = "Token:List"  # noqa: S105
    TOKEN_CREATE = "Token:Create"  # noqa: S105
    TOKEN_REVOKE = "Token:Revoke"  # noqa: S105
    SCHEDULE_LIST = "Schedule:List"
    SCHEDULE_UPDATE = "Schedule:Update"
    """Pause and resume schedules."""
    SCHEDULE_RUN = "Schedule:Run"
    SYSTEM_INFO = "System:Info"
    SYSTEM_ALERT = "System:Alert"
    """Scale functions of every namespace by AlertManager's alerts."""
    SYSTEM_GOVERN = "System:Govern"
    """Change what bounds or weakens a tenant: settings of namespaces that begin with `com.hilbert.`, and the like."""
    AUDIT_READ = "Audit:Read"
    """Read the audit log, of a namespace or of everything."""
    USAGE_READ = "Usage:Read"
    """Read what namespaces have used, by day."""
    IAM_GET = "Iam:Get"
    IAM_UPDATE = "Iam:Update"
    """Change issuers, policies and roles: whoever may can give themselves every right."""


class Resource(msgspec.Struct, frozen=True):
    """What an action is about: a function, a namespace, or with neither the platform as a whole."""

    namespace: NamespaceName | None = None
    ref: FunctionRef | None = None
    """Its namespace is `namespace`."""


PLATFORM: Final = Resource()


class Grant(msgspec.Struct, frozen=True):
    """A right: some actions on some resources. There are no grants that take rights away."""

    actions: tuple[str, ...]
    """Actions by name; `Function:*` is all of a kind, `*` every one."""
    resources: tuple[str, ...]
    """`NAMESPACE:FUNCTION`, `NAMESPACE:*`, or `*`."""
    by: str = ""
    """What gives it, for the audit log."""


class Caller(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Whoever makes a request, without the credentials that proved it."""

    identity: str
    """Unique among callers; empty for nobody."""
    claims: Mapping[str, str | Sequence[str]] = {}
    """What whoever vouches for the caller says of it."""
    grants: tuple[Grant, ...] = ()

    @functools.cached_property
    def allowed(self) -> Mapping[str, frozenset[str]]:
        """The grants by action, as they name actions and resources: looked up for each decision, however many there are."""
        found: dict[str, set[str]] = {}
        for grant in self.grants:
            for action in grant.actions:
                found.setdefault(action, set()).update(grant.resources)
        return {action: frozenset(resources) for action, resources in found.items()}


ADMINISTRATOR: Final = Caller(identity="admin", grants=(Grant((EVERYTHING,), (EVERYTHING,), "administrator"),))
"""Whoever knows the gateway's password, and everybody where there is none."""

NOBODY: Final = Caller(identity="")
"""A stranger. May do what is public."""
