"""`/healthz`: does the control plane answer? `/readyz`: does it know where calls go? And `/async-function/`, which this version does not serve."""

from __future__ import annotations

from litestar import MediaType, Response, get, head, route
from litestar.handlers import HTTPRouteHandler

from hilbert.api.services import Services
from hilbert.core.errors import BackendUnavailable, Unsupported

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
QUEUE_PATH = "/async-function/{rest:path}"


def routes(services: Services) -> list[HTTPRouteHandler]:
    """All handlers. None needs a password."""

    @get(HEALTH_PATH)
    async def get_health() -> Response[bytes]:
        return Response(b"OK", media_type=MediaType.TEXT)

    @head(HEALTH_PATH, media_type=MediaType.TEXT)
    async def head_health() -> None:
        return None

    @get(READY_PATH)
    async def get_readiness() -> Response[bytes]:
        if not services.is_ready():
            raise BackendUnavailable("the gateway does not know its functions yet", hint="try again")
        return Response(b"OK", media_type=MediaType.TEXT)

    @route(QUEUE_PATH, http_method=["POST", "DELETE"], status_code=202)
    async def queue_call() -> Response[bytes]:
        raise Unsupported(
            "queued invocation is not available in this version", hint="call the function at /function/ and wait"
        )

    return [get_health, head_health, get_readiness, queue_call]
