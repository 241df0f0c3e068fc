"""May this caller do that there? Pure decisions: from a caller's grants alone, without I/O.

Rights only add up (OpenFaaS's policies have no effect but `Allow`), so the order of grants does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable

from hilbert.core.identity import EVERYTHING, Action, Caller, Resource
from hilbert.core.values import NamespaceName


def may(caller: Caller, action: Action, resource: Resource) -> bool:
    """True if a grant has the action on the resource. What is about the whole platform needs a grant on `*`."""
    names = _names(resource)
    return any(_covers(grant.actions, action) and not names.isdisjoint(grant.resources) for grant in caller.grants)


def may_somewhere(caller: Caller, action: Action) -> bool:
    """True if there could be a resource on which the caller may do this; for lists, which are then filtered by `may`."""
    return any(_covers(grant.actions, action) and grant.resources for grant in caller.grants)


def sees(caller: Caller, namespace: NamespaceName) -> bool:
    """True if the caller has any right in the namespace. For others it must look as if it did not exist."""
    prefix = f"{namespace}:"
    return any(
        resource == EVERYTHING or resource.startswith(prefix) for grant in caller.grants for resource in grant.resources
    )


def _covers(actions: Iterable[str], action: Action) -> bool:
    kind, _, _ = action.partition(":")
    return not {EVERYTHING, f"{kind}:*", action.value}.isdisjoint(actions)


def _names(resource: Resource) -> set[str]:
    """Every way in which a grant can name the resource."""
    names = {EVERYTHING}
    if resource.namespace is not None:
        names.add(f"{resource.namespace}:*")
    if resource.ref is not None:
        names.add(f"{resource.ref.namespace}:{resource.ref.name}")
    return names
