"""`/system/scale-function/NAME`: how many replicas a function should have."""

from __future__ import annotations

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from hilbert.api.problems import RESERVED_READ, telling
from hilbert.api.request import AnyRequest, nothing, path_name, query, read
from hilbert.api.services import Services
from hilbert.core.errors import Invalid
from hilbert.wire.function import ScaleFunction

PATH = "/system/scale-function/{name:str}"

MAX_REPLICAS = 2**31 - 1
"""Of any provider: Kubernetes counts replicas in 32 bits. Providers have lower limits of their own."""

_BROKEN = "Cannot parse request. Please pass valid JSON."


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handler of this resource."""
    tenancy = services.tenancy

    @post(PATH, status_code=202, exception_handlers=telling(RESERVED_READ))
    async def scale_function(request: AnyRequest) -> Response[bytes]:
        given = await read(request, ScaleFunction, empty=_BROKEN, broken=_BROKEN)
        _, ref = await tenancy.resolve_function(path_name(request), given.namespace, query(request, "namespace"))
        if given.replicas is None or not 0 <= given.replicas <= MAX_REPLICAS:
            raise Invalid(f"replicas: is required, a whole number from 0 to {MAX_REPLICAS}")
        await services.provider.scale(ref, given.replicas)
        return nothing(202)

    return [scale_function]
