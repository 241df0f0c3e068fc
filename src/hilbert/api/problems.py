"""Errors as answers: one table from error class to status, one form as text and one as JSON.

Text is what OpenFaaS's clients print: the sentence and a newline, then the hint if there is one. JSON is for clients
that prefer it. A failure that nobody foresaw shows its call id alone; the log has the rest under that id.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from hilbert.core import errors
from hilbert.core.errors import HilbertError
from hilbert.wire import headers as names
from hilbert.wire.problem import Problem, ProblemBody

AnyRequest = Request[Any, Any, Any]
Handler = Callable[[AnyRequest, Exception], Response[bytes]]

_log = structlog.get_logger("hilbert.api")


class Told(msgspec.Struct, frozen=True):
    """How an error class is told to a client."""

    status: int
    text: str | None = None
    """The text form, where OpenFaaS's clients know exactly this one; empty is no body. None: the error's own message."""


NAMESPACE_NOT_VALID: Final = Told(400, "namespace not valid")

Retold = Mapping[type[HilbertError], Told]

TABLE: Final[Retold] = {
    errors.Invalid: Told(400),
    errors.NotFound: Told(404),
    errors.NamespaceNotFound: NAMESPACE_NOT_VALID,
    errors.Conflict: Told(409),
    errors.Unauthenticated: Told(401),
    errors.Denied: Told(403),
    errors.Unsupported: Told(501),
    errors.QuotaExceeded: Told(403),
    errors.RateLimited: Told(429),
    errors.Overloaded: Told(503),
    errors.ImageUnavailable: Told(400),
    errors.BackendUnavailable: Told(503),
    errors.StorageFull: Told(507),
    errors.BackendError: Told(500),
    errors.UpstreamTimeout: Told(504),
    errors.ActivationTimeout: Told(503),
    errors.InvocationError: Told(502),
}
"""The nearest class in an error's order of bases counts. A route may tell some errors otherwise: `telling`."""

RESERVED_READ: Final[Retold] = {errors.ReservedNamespace: Told(401)}
RESERVED_WRITE: Final[Retold] = {errors.ReservedNamespace: NAMESPACE_NOT_VALID}


def told(error: type[HilbertError], table: Retold = TABLE) -> Told:
    """Raises `KeyError` for a class that the table misses."""
    for kind in error.__mro__:
        if kind in table:
            return table[kind]
    raise KeyError(error.__name__)


def telling(other: Retold) -> dict[int | type[Exception], Handler]:
    """Litestar's `exception_handlers` for a route that tells some errors otherwise than the table."""

    def handler_of(answer: Told) -> Handler:
        def handle(request: AnyRequest, exc: Exception) -> Response[bytes]:
            assert isinstance(exc, HilbertError)  # noqa: S101 - by registration
            return _problem(request, exc, answer)

        return handle

    return {kind: handler_of(answer) for kind, answer in other.items()}


def handlers() -> dict[int | type[Exception], Handler]:
    """Litestar's `exception_handlers` for the whole application."""
    return {HilbertError: _domain, HTTPException: _http, Exception: _unforeseen}


def call_id(headers: Mapping[str, str]) -> str:
    """The caller's call id if it is sane, else a new one."""
    given = headers.get(names.CALL_ID, "") or headers.get(names.CALL_ID.lower(), "")
    return given if names.is_call_id(given) else str(uuid.uuid4())


def prefers_json(accept: str) -> bool:
    """True when an `Accept` header names `application/json` and likes text no better. A wildcard is no wish for JSON."""
    json, text = -1.0, -1.0
    for entry in accept.split(",")[:32]:
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = next((_quality(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        if kind == "application/json":
            json = max(json, quality)
        elif kind in ("text/plain", "text/*"):
            text = max(text, quality)
    return json > 0 and json >= text


def problem_body(error: ProblemBody) -> bytes:
    return msgspec.json.encode(Problem(error)) + b"\n"


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def _domain(request: AnyRequest, exc: Exception) -> Response[bytes]:
    assert isinstance(exc, HilbertError)  # noqa: S101 - by registration
    return _problem(request, exc, told(type(exc)))


def _problem(request: AnyRequest, exc: HilbertError, answer: Told) -> Response[bytes]:
    number = call_id(request.headers)
    if answer.status >= 500 and answer.status != 501:
        _log.error("request failed", call_id=number, code=exc.code, reason=exc.message, detail=exc.detail)
    elif exc.detail:
        _log.info("request refused", call_id=number, code=exc.code, reason=exc.message, detail=exc.detail)
    text = exc.message if answer.text is None else answer.text
    if exc.hint and answer.text is None:
        text += f"\nhint: {exc.hint}"
    headers: dict[str, str] = {}
    if isinstance(exc, errors.Overloaded) and exc.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(exc.retry_after)))
    body = ProblemBody(code=exc.code, message=exc.message, hint=exc.hint, call_id=number)
    return _answer(request, answer.status, text, body, headers)


def _http(request: AnyRequest, exc: Exception) -> Response[bytes]:
    """What Litestar itself refuses: unknown paths, wrong methods, bodies that are too large."""
    assert isinstance(exc, HTTPException)  # noqa: S101 - by registration
    if isinstance(exc, NotFoundException):
        return _answer(request, 404, "404 page not found", _body(request, "no-such-path", "404 page not found"), {})
    if isinstance(exc, MethodNotAllowedException):
        allowed = sorted(set((exc.headers or {}).get("allow", "").split(", ")) - {"OPTIONS", ""})
        body = _body(request, "method-not-allowed", f"this path takes {', '.join(allowed)}")
        return _answer(request, 405, "", body, {"Allow": ", ".join(allowed)})
    if exc.status_code == 413:
        text = "the request's body is larger than the setting gateway.max_api_body allows"
        return _answer(request, 413, text, _body(request, "body-too-large", text), {"Connection": "close"})
    if exc.status_code >= 500:
        return _unforeseen(request, exc)
    return _answer(request, exc.status_code, exc.detail, _body(request, "bad-request", exc.detail), {})


def _unforeseen(request: AnyRequest, exc: Exception) -> Response[bytes]:
    number = call_id(request.headers)
    _log.error("request failed", call_id=number, exc_info=exc)
    message = f"internal error; the gateway's log has it under call id {number}"
    return _answer(request, 500, message, ProblemBody(code="internal", message=message, call_id=number), {})


def _body(request: AnyRequest, code: str, message: str) -> ProblemBody:
    return ProblemBody(code=code, message=message, call_id=call_id(request.headers))


def _answer(
    request: AnyRequest, status: int, text: str, problem: ProblemBody, headers: dict[str, str]
) -> Response[bytes]:
    if prefers_json(request.headers.get("accept", "")):
        return Response(problem_body(problem), status_code=status, media_type="application/json", headers=headers)
    return Response(f"{text}\n".encode() if text else b"", status_code=status, media_type="text/plain", headers=headers)
