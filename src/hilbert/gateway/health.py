"""`/healthz`: does the control plane answer? And `/async-function/`, which this version does not serve."""

from __future__ import annotations

from litestar import MediaType, Response, get, head, route
from litestar.handlers import HTTPRouteHandler

from hilbert.core.errors import Unsupported

HEALTH_PATH = "/healthz"
QUEUE_PATH = "/async-function/{rest:path}"


def routes() -> list[HTTPRouteHandler]:
    """Both handlers. Neither needs a password."""

    @get(HEALTH_PATH)
    async def get_health() -> Response[bytes]:
        return Response(b"OK", media_type=MediaType.TEXT)

    @head(HEALTH_PATH, media_type=MediaType.TEXT)
    async def head_health() -> None:
        return None

    @route(QUEUE_PATH, http_method=["POST", "DELETE"], status_code=202)
    async def queue_call() -> Response[bytes]:
        raise Unsupported(
            "queued invocation is not available in this version", hint="call the function at /function/ and wait"
        )

    return [get_health, head_health, queue_call]
