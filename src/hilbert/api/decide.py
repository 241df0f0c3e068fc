"""The one place where a right is asked for: between looking up what a request is about and doing it."""

from __future__ import annotations

from hilbert.api.endpoint import Call
from hilbert.core.errors import Forbidden, HilbertError
from hilbert.core.identity import Action, Resource
from hilbert.core.model import Namespace
from hilbert.iam.rights import may, may_somewhere, sees


def check(call: Call) -> None:
    """Return if the caller may do what the endpoint declares to what the request is about.

    What the caller may not see answers exactly as what does not exist; what it may see but not do
    raises `Forbidden`, which names the right.
    """
    action = call.endpoint.access
    if not isinstance(action, Action):
        return
    for resource, namespace in call.target.each():
        if may_somewhere(call.caller, action) if resource is None else may(call.caller, action, resource):
            continue
        call.refused = True
        if (absent := _absent(call, resource, namespace)) is not None:
            raise absent
        raise Forbidden(
            f"this needs the right {action} on {_name(resource)}",
            hint="ask an administrator of the namespace or the gateway",
        )
    for need in call.target.needs():
        if not may(call.caller, need.action, need.resource):
            call.refused = True
            raise Forbidden(
                f"{need.why} needs the right {need.action} on {_name(need.resource)}",
                hint="ask an administrator of the gateway",
            )


def _absent(call: Call, resource: Resource | None, namespace: Namespace | None) -> HilbertError | None:
    """What says that the thing does not exist, if the caller may not know that it does."""
    if resource is None or resource.namespace is None or sees(call.caller, resource.namespace):
        return None
    if call.target.absent is not None:
        return call.target.absent
    return call.services.tenancy.absent(namespace.name) if namespace is not None else None


def _name(resource: Resource | None) -> str:
    if resource is None:
        return "any namespace"
    if resource.ref is not None:
        return f"{resource.ref.namespace}:{resource.ref.name}"
    return f"{resource.namespace}:*" if resource.namespace is not None else "*"
