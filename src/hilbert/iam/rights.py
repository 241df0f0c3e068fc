"""May this caller do that there? Pure decisions: from a caller's grants alone, without I/O.

Rights only add up (OpenFaaS's policies have no effect but `Allow`), so the order of grants does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator

from hilbert.core.identity import EVERYTHING, Action, Caller, Grant, Resource
from hilbert.core.values import NamespaceName


def may(caller: Caller, action: Action, resource: Resource) -> bool:
    """True if a grant has the action on the resource. What is about the whole platform needs a grant on `*`."""
    names = _names(resource)
    return any(not resources.isdisjoint(names) for resources in _of(caller, action))


def granted_by(caller: Caller, action: Action, resource: Resource) -> Grant | None:
    """The first grant that has the action on the resource, for the audit log; None where `may` is false."""
    names, ways = _names(resource), {action.value, f"{action.partition(':')[0]}:*", EVERYTHING}
    for grant in caller.grants:
        if not ways.isdisjoint(grant.actions) and not names.isdisjoint(grant.resources):
            return grant
    return None


def may_somewhere(caller: Caller, action: Action) -> bool:
    """True if there could be a resource on which the caller may do this; for lists, which are then filtered by `may`."""
    return any(_of(caller, action))


def sees(caller: Caller, namespace: NamespaceName) -> bool:
    """True if the caller has any right in the namespace. For others it must look as if it did not exist."""
    prefix = f"{namespace}:"
    return any(
        resource == EVERYTHING or resource.startswith(prefix)
        for resources in caller.allowed.values()
        for resource in resources
    )


def _of(caller: Caller, action: Action) -> Iterator[frozenset[str]]:
    """The resources on which the caller has the action, by each way in which a grant can name it."""
    allowed = caller.allowed
    for name in (action.value, f"{action.partition(':')[0]}:*", EVERYTHING):
        if (resources := allowed.get(name)) is not None:
            yield resources


def _names(resource: Resource) -> set[str]:
    """Every way in which a grant can name the resource."""
    names = {EVERYTHING}
    if resource.namespace is not None:
        names.add(f"{resource.namespace}:*")
    if resource.ref is not None:
        names.add(f"{resource.ref.namespace}:{resource.ref.name}")
    return names
