"""Pages for people: the front page at `/ui/`, and the description of this API at `/openapi/`."""

from __future__ import annotations

from importlib import resources
from typing import Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from hilbert.api.openapi import document

_POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Nothing from elsewhere, nothing inline, in nobody's frame."""

_FILES: Final = {
    "/ui": ("ui.html", "text/html"),
    "/ui/ui.js": ("ui.js", "text/javascript"),
    "/ui/page.css": ("page.css", "text/css"),
    "/openapi": ("openapi.html", "text/html"),
    "/openapi/openapi.js": ("openapi.js", "text/javascript"),
}


def routes() -> list[HTTPRouteHandler]:
    """One handler for each page, one for the document, one for the way from `/` to the front page."""
    folder = resources.files("hilbert.dashboard") / "static"
    found = [_page(path, (folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()]
    description = msgspec.json.format(msgspec.json.encode(document()), indent=2)

    @get("/", status_code=307)
    async def to_front_page() -> Response[bytes]:
        return Response(b"", status_code=307, media_type="text/plain", headers={"Location": "/ui/"})

    @get("/openapi/openapi.json")
    async def get_description() -> Response[bytes]:
        return Response(description, media_type="application/json", headers={"Cache-Control": "no-cache"})

    return [*found, to_front_page, get_description]


def _page(path: str, content: bytes, kind: str) -> HTTPRouteHandler:
    @get(path)
    async def get_page() -> Response[bytes]:
        return Response(content, media_type=kind, headers=_POLICY)

    return get_page
