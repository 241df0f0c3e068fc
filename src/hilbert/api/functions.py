"""`/system/functions`: list, create, update, delete."""

from __future__ import annotations

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler

from hilbert.api.problems import NAMESPACE_NOT_VALID, RESERVED_READ, Retold, Told, telling
from hilbert.api.request import AnyRequest, json, nothing, parse_bool, query, read
from hilbert.api.services import Services
from hilbert.control.call_policy import call_policy, usable_policy
from hilbert.core import errors
from hilbert.core.errors import Invalid
from hilbert.wire.function import DeleteFunction, Deployment, WireStatus, from_status, to_spec

PATH = "/system/functions"

_MISSING_SECRET: Retold = {errors.SecretNotFound: Told(400)}
_CREATE = telling({errors.ReservedNamespace: NAMESPACE_NOT_VALID, **_MISSING_SECRET})
_UPDATE = telling({**RESERVED_READ, **_MISSING_SECRET})
_OTHER = telling(RESERVED_READ)


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handlers of this resource."""
    tenancy = services.tenancy
    provider = services.provider
    gateway = services.settings.gateway

    async def deploy(request: AnyRequest, *, create: bool, broken: str) -> Response[bytes]:
        deployment = await read(request, Deployment, empty="expected a body", broken=broken)
        namespace = await tenancy.resolve(deployment.namespace, query(request, "namespace"))
        spec = to_spec(deployment, namespace.name)
        call_policy(spec, namespace.annotations, gateway)
        await provider.apply(spec, create=create)
        return nothing(202)

    @get(PATH, exception_handlers=_OTHER)
    async def list_functions(request: AnyRequest) -> Response[bytes]:
        namespace = await tenancy.resolve(query(request, "namespace"))
        with_usage = parse_bool(query(request, "usage"))
        statuses: list[WireStatus] = []
        for status in await provider.list(namespace.name):
            policy, _ = usable_policy(status.spec, namespace.annotations, gateway)
            count = services.invocations(status.spec.ref)
            statuses.append(from_status(status, policy, invocations=count, with_usage=with_usage))
        return json(statuses)

    @post(PATH, status_code=202, exception_handlers=_CREATE)
    async def create_function(request: AnyRequest) -> Response[bytes]:
        return await deploy(request, create=True, broken="failed to unmarshal request: {}")

    @put(PATH, status_code=202, exception_handlers=_UPDATE)
    async def update_function(request: AnyRequest) -> Response[bytes]:
        return await deploy(request, create=False, broken="unable to unmarshal request: {}")

    @delete(PATH, status_code=202, exception_handlers=_OTHER)
    async def delete_function(request: AnyRequest) -> Response[bytes]:
        given = await read(request, DeleteFunction, empty="expected a body", broken="failed to unmarshal request: {}")
        if not given.function_name:
            raise Invalid("functionName: is required")
        _, ref = await tenancy.resolve_function(given.function_name, given.namespace, query(request, "namespace"))
        await provider.get(ref)
        await provider.remove(ref)
        return nothing(202)

    return [list_functions, create_function, update_function, delete_function]
