"""The ready-made roles of tokens: which actions each has in its namespaces. Each line holds the one before it, but `invoker`.

None may change the namespace itself, since its annotations set the tenant's limits.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from hilbert.core.errors import Forbidden
from hilbert.core.identity import EVERYTHING, Action, Caller, Grant, Resource
from hilbert.core.values import NamespaceName
from hilbert.iam.rights import may


class Role(enum.StrEnum):
    """What a token is for."""

    INVOKER = "invoker"
    """Call functions."""
    VIEWER = "viewer"
    """Look at everything but the values of secrets, and what calls carry."""
    DEPLOYER = "deployer"
    """Deploy, scale and remove functions as well, for CI."""
    DEVELOPER = "developer"
    """Change secrets, too."""
    OWNER = "owner"
    """Make and revoke tokens of the namespace, too, and read what was done and used in it."""


_VIEW: Final = (
    Action.FUNCTION_LIST,
    Action.FUNCTION_GET,
    Action.FUNCTION_LOGS,
    Action.NAMESPACE_LIST,
    Action.NAMESPACE_GET,
    Action.SECRET_LIST,
    Action.SCHEDULE_LIST,
)
_DEPLOY: Final = (
    *_VIEW,
    Action.FUNCTION_INVOKE,
    Action.FUNCTION_CREATE,
    Action.FUNCTION_UPDATE,
    Action.FUNCTION_DELETE,
    Action.FUNCTION_SCALE,
    Action.FUNCTION_PAYLOAD,
    Action.SCHEDULE_UPDATE,
    Action.SCHEDULE_RUN,
)
_DEVELOP: Final = (*_DEPLOY, Action.SECRET_CREATE, Action.SECRET_UPDATE, Action.SECRET_DELETE)

ACTIONS: Final[dict[Role, tuple[Action, ...]]] = {
    Role.INVOKER: (Action.FUNCTION_INVOKE,),
    Role.VIEWER: _VIEW,
    Role.DEPLOYER: _DEPLOY,
    Role.DEVELOPER: _DEVELOP,
    Role.OWNER: (
        *_DEVELOP,
        Action.AUDIT_READ,
        Action.USAGE_READ,
        Action.TOKEN_CREATE,
        Action.TOKEN_LIST,
        Action.TOKEN_REVOKE,
    ),
}


def grants_of(role: Role, namespaces: Iterable[NamespaceName]) -> tuple[Grant, ...]:
    """The rights of a role in some namespaces."""
    resources = tuple(f"{namespace}:{EVERYTHING}" for namespace in namespaces)
    return (Grant(tuple(action.value for action in ACTIONS[role]), resources, f"role {role}"),)


def check_no_more(caller: Caller, role: Role, namespaces: Iterable[NamespaceName]) -> None:
    """Raise `Forbidden` if the role could do something in one of the namespaces that the caller itself may not."""
    for namespace in namespaces:
        for action in ACTIONS[role]:
            if not may(caller, action, Resource(namespace)):
                raise Forbidden(f"a {role} may do more than you may: this needs the right {action} on {namespace}:*")
