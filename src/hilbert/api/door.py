"""Authentication, around the whole router: what is not listed here as public needs the password."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from hilbert.api.problems import call_id, prefers_json, problem_body
from hilbert.iam.basic import Credentials
from hilbert.wire.problem import ProblemBody

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Exact paths that anybody may ask for."""

PUBLIC_PREFIX: Final = "/async-function/"
"""Calls of functions carry no gateway credentials in OpenFaaS. `/function/` never comes here; this one does."""

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_MOST: Final = 8192


class Auth:
    """ASGI middleware: 401 without the right basic credentials, and 403 for writes that a foreign web page makes.

    A browser adds saved credentials also to requests that another site's page makes, so a write that says it comes from
    another site (`Sec-Fetch-Site`, which pages cannot forge) is refused, with and without a password.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials | None) -> None:
        self._app = app
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_public(scope["path"]) and self._credentials and not _match(self._credentials, headers):
            await _refuse(
                send,
                headers,
                401,
                b"invalid credentials",
                ProblemBody(code="unauthenticated", message="invalid credentials", call_id=call_id(headers)),
                [(b"www-authenticate", b'Basic realm="Restricted"')],
            )
        elif scope["method"] not in _SAFE_METHODS and _from_elsewhere(headers):
            message = "a page of another site may not change anything here"
            await _refuse(
                send,
                headers,
                403,
                f"{message}\n".encode(),
                ProblemBody(code="forbidden", message=message, call_id=call_id(headers)),
                [],
            )
        elif scope["method"] == "OPTIONS":
            # No page of another site may read anything here either, so there is nothing to negotiate.
            message = "there is no OPTIONS here"
            problem = ProblemBody(code="method-not-allowed", message=message, call_id=call_id(headers))
            await _refuse(send, headers, 405, b"", problem, [])
        else:
            await self._app(scope, receive, send)


def is_public(path: str) -> bool:
    """True for the few paths that need no password."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX)


def _match(credentials: Credentials, headers: dict[str, str]) -> bool:
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _MOST:
        return False
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return False
    return bool(colon) and credentials.match(user, password)


def _from_elsewhere(headers: dict[str, str]) -> bool:
    return headers.get("sec-fetch-site", "") in ("cross-site", "same-site")


async def _refuse(
    send: Send,
    request: dict[str, str],
    status: int,
    text: bytes,
    problem: ProblemBody,
    extra: list[tuple[bytes, bytes]],
) -> None:
    as_json = prefers_json(request.get("accept", ""))
    body = problem_body(problem) if as_json else text
    kind = b"application/json" if as_json else b"text/plain; charset=utf-8"
    head = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})
