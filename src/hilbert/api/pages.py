"""Pages for people: the front page at `/ui/`, and the description of this API at `/openapi/`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import resources
from typing import Final

from hilbert.api.asgi import JSON, TEXT, Answer
from hilbert.api.endpoint import Access, Call, Endpoint, Handler

_POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Nothing from elsewhere, nothing inline, in nobody's frame."""

_FILES: Final = {
    "/ui": ("ui.html", "text/html; charset=utf-8"),
    "/ui/ui.js": ("ui.js", "text/javascript; charset=utf-8"),
    "/ui/page.css": ("page.css", "text/css; charset=utf-8"),
    "/openapi": ("openapi.html", "text/html; charset=utf-8"),
    "/openapi/openapi.js": ("openapi.js", "text/javascript; charset=utf-8"),
}


@functools.cache
def _content(name: str) -> bytes:
    return (resources.files("hilbert.dashboard") / "static" / name).read_bytes()


def _page(name: str, media: str) -> Handler:
    async def get_page(_call: Call) -> Answer:
        return Answer(200, _content(name), media, _POLICY)

    return get_page


async def to_front_page(_call: Call) -> Answer:
    return Answer(307, b"", TEXT, {"Location": "/ui/"})


def endpoints(describe: Callable[[], bytes]) -> tuple[Endpoint, ...]:
    """Every page; `describe` gives the OpenAPI document and is asked once."""
    description = functools.cache(describe)

    async def get_description(_call: Call) -> Answer:
        return Answer(200, description(), JSON, {"Cache-Control": "no-cache"})

    return (
        _endpoint("/", to_front_page, "Go to the front page"),
        *(_endpoint(path, _page(name, media), "Show a page") for path, (name, media) in _FILES.items()),
        _endpoint("/openapi/openapi.json", get_description, "Describe this API"),
    )


def _endpoint(path: str, handler: Handler, summary: str) -> Endpoint:
    return Endpoint(
        method="GET",
        path=path,
        handler=handler,
        access=Access.SIGNED_IN,
        group="The gateway itself",
        summary=summary,
        documented=False,
    )
