"""`/system/function/NAME`: one function's status."""

from __future__ import annotations

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from hilbert.api.problems import RESERVED_READ, Told, telling
from hilbert.api.request import AnyRequest, json, parse_bool, path_name, query
from hilbert.api.services import Services
from hilbert.control.call_policy import usable_policy
from hilbert.core import errors
from hilbert.wire.function import from_status

PATH = "/system/function/{name:str}"

_TOLD = telling({**RESERVED_READ, errors.FunctionNotFound: Told(404, "")})


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handler of this resource."""
    tenancy = services.tenancy

    @get(PATH, exception_handlers=_TOLD)
    async def get_function(request: AnyRequest) -> Response[bytes]:
        namespace, ref = await tenancy.resolve_function(path_name(request), query(request, "namespace"))
        status = await services.provider.get(ref)
        policy, _ = usable_policy(status.spec, namespace.annotations, services.settings.gateway)
        with_usage = parse_bool(query(request, "usage"))
        count = services.invocations(ref)
        return json(from_status(status, policy, invocations=count, with_usage=with_usage))

    return [get_function]
