"""The REST API as one ASGI application."""

from __future__ import annotations

import uvicorn
from litestar import Litestar
from litestar.types import ASGIApp

from hilbert.api import alert, function, functions, health, info, logs, namespaces, pages, scale, secrets
from hilbert.api.door import Auth
from hilbert.api.problems import handlers
from hilbert.api.services import Services
from hilbert.api.traffic import Counted


def create_app(services: Services) -> ASGIApp:
    """The whole API: counted, then authenticated, then routed."""
    return Counted(Auth(create_router(services), services.credentials), services.traffic)


def create_router(services: Services) -> Litestar:
    """The routes alone, without authentication."""
    return Litestar(
        route_handlers=[
            *functions.routes(services),
            *function.routes(services),
            *scale.routes(services),
            *namespaces.routes(services),
            *secrets.routes(services),
            *logs.routes(services),
            *alert.routes(services),
            *info.routes(services),
            *health.routes(services),
            *pages.routes(),
        ],
        exception_handlers=handlers(),
        request_max_body_size=services.settings.gateway.max_api_body.units,
        openapi_config=None,
        logging_config=None,
    )


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn is to serve it: behind the workers, which have dealt with strangers' bytes already."""
    return uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=300,
        timeout_graceful_shutdown=3,
    )
