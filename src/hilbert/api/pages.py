"""Pages for people: the front page at `/ui/`, and the description of this API at `/openapi/`.

The pages themselves are public, since they hold nothing: their scripts ask for the password and read the API with it.
"""

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
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Nothing from elsewhere, nothing inline, in nobody's frame, out of reach of whoever opened the page."""

_FILES: Final = {
    "/ui": ("ui.html", "text/html; charset=utf-8"),
    "/ui/session.js": ("session.js", "text/javascript; charset=utf-8"),
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


async def no_icon(_call: Call) -> Answer:
    return Answer(404, b"", TEXT, {"Cache-Control": "max-age=86400"})


async def to_front_page(_call: Call) -> Answer:
    return Answer(307, b"", TEXT, {"Location": "/ui/"})


def endpoints(describe: Callable[[], bytes]) -> tuple[Endpoint, ...]:
    """Every page; `describe` gives the OpenAPI document and is asked once."""
    description = functools.cache(describe)

    async def get_description(_call: Call) -> Answer:
        return Answer(200, description(), JSON, {"Cache-Control": "no-cache"})

    return (
        _endpoint("/", to_front_page, "Go to the front page"),
        _endpoint("/favicon.ico", no_icon, "Say that there is no icon"),
        *(_endpoint(path, _page(name, media), "Show a page") for path, (name, media) in _FILES.items()),
        _endpoint("/openapi/openapi.json", get_description, "Describe this API", Access.SIGNED_IN),
    )


def _endpoint(path: str, handler: Handler, summary: str, access: Access = Access.PUBLIC) -> Endpoint:
    return Endpoint(
        method="GET",
        path=path,
        handler=handler,
        access=access,
        aliases=(f"{path}/",) if path in ("/ui", "/openapi") else (),
        group="The gateway itself",
        summary=summary,
        documented=False,
    )
