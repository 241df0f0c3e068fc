"""What a request is about, from all that it says of it: path, query and body must agree (`control.tenancy`)."""

from __future__ import annotations

from collections.abc import Callable

from hilbert.api.endpoint import NAMESPACE, Call, Resolver, Target
from hilbert.core.errors import NamespaceNotFound, ReservedNamespace
from hilbert.core.identity import Resource

Said = Callable[[Call], str]


def namespace(*also: Said) -> Resolver:
    """The namespace that the query names, and `also` if they say one; else the default one."""

    async def resolve(call: Call) -> Target:
        found = await call.services.tenancy.resolve(call.query(NAMESPACE), *(said(call) for said in also))
        return Target(Resource(found.name), found)

    return resolve


def function(name: Said, *also: Said) -> Resolver:
    """The function that `name` says, as `NAME` or `NAME.NAMESPACE`, with whatever else names its namespace."""

    async def resolve(call: Call) -> Target:
        others = (call.query(NAMESPACE), *(said(call) for said in also))
        found, ref = await call.services.tenancy.resolve_function(name(call), *others)
        return Target(Resource(found.name, ref), found)

    return resolve


def in_path(call: Call) -> str:
    return call.name


async def namespace_in_path(call: Call) -> Target:
    """The namespace that the path names. What could not be one does not exist; a reserved one cannot even be read."""
    try:
        found = await call.services.tenancy.resolve(call.name)
    except NamespaceNotFound:
        raise call.services.tenancy.absent(call.name) from None
    except ReservedNamespace:
        if call.endpoint.method == "GET":
            raise call.services.tenancy.absent(call.name) from None
        raise
    return Target(Resource(found.name), found)
