"""The one place where a right is asked for: between looking up what a request is about and doing it."""

from __future__ import annotations

from hilbert.api.endpoint import Call
from hilbert.core.errors import Forbidden
from hilbert.core.identity import Action, Resource
from hilbert.iam.rights import may, may_somewhere, sees


def check(call: Call) -> None:
    """Return if the caller may do what the endpoint declares to what the request is about.

    What the caller may not see answers exactly as what does not exist (`NamespaceNotFound`); what it may see but not do
    raises `Forbidden`, which names the right.
    """
    action = call.endpoint.access
    if not isinstance(action, Action):
        return
    resource = call.target.resource
    if may_somewhere(call.caller, action) if resource is None else may(call.caller, action, resource):
        return
    found = call.target.namespace
    if found is not None and not sees(call.caller, found.name):
        raise call.services.tenancy.absent(found.name)
    raise Forbidden(
        f"this needs the right {action} on {_name(resource)}",
        hint="ask whoever administers the namespace or the gateway",
    )


def _name(resource: Resource | None) -> str:
    if resource is None:
        return "any namespace"
    if resource.ref is not None:
        return f"{resource.ref.namespace}:{resource.ref.name}"
    return f"{resource.namespace}:*" if resource.namespace is not None else "*"
