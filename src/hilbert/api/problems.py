"""Errors as answers: one table from error class to status, one form as text and one as JSON.

Text is what OpenFaaS's clients print: the sentence and a newline, then the hint if there is one. JSON is for clients
that prefer it. An unexpected failure shows only its call id; the log has the rest under that id.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from hilbert.core import errors
from hilbert.core.errors import HilbertError
from hilbert.wire import headers as names
from hilbert.wire.problem import Problem, ProblemBody

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
    errors.TooLarge: Told(413),
    errors.NotFound: Told(404),
    errors.NamespaceNotFound: NAMESPACE_NOT_VALID,
    errors.Conflict: Told(409),
    errors.KeyReused: Told(422),
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
"""The nearest class in an error's order of bases counts. An endpoint may tell some errors otherwise."""

_SOON: Final = 5.0
"""Seconds after which to try again where nobody knows better: a part that is away is looked for more often than that."""

NO_PROMISE: Final[Retold] = {errors.StorageFull: Told(503)}
"""Where calls are queued: clients of OpenFaaS know 503 for what cannot be promised now."""

RESERVED_READ: Final[Retold] = {errors.ReservedNamespace: Told(401)}
RESERVED_WRITE: Final[Retold] = {errors.ReservedNamespace: NAMESPACE_NOT_VALID}


class Refusal(Exception):
    """What HTTP itself refuses, before the domain is asked: unknown paths, wrong methods, bodies that are too large."""

    def __init__(
        self, status: int, code: str, message: str, *, text: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """`text` is the text form where it is not the message and a newline."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.text = f"{message}\n" if text is None else text
        self.headers = headers or {}


class Problematic(msgspec.Struct, frozen=True):
    """An error in the form that a client asked for."""

    status: int
    body: bytes
    as_json: bool
    headers: Mapping[str, str]


def told(error: type[HilbertError], table: Retold = TABLE) -> Told:
    """Raises `KeyError` for a class that the table misses."""
    for kind in error.__mro__:
        if kind in table:
            return table[kind]
    raise KeyError(error.__name__)


def retelling(other: Retold) -> Retold:
    """The table with what an endpoint tells otherwise."""
    return {**TABLE, **other}


def problem_of(exc: Exception, request: Mapping[str, str], other: Retold | None = None) -> Problematic:
    """The answer to a request with these headers that ended with `exc`. Logs what its answer does not tell."""
    number = call_id(request)
    if isinstance(exc, Refusal):
        return _form(request, exc.status, exc.text, ProblemBody(exc.code, exc.message, call_id=number), exc.headers)
    if not isinstance(exc, HilbertError):
        _log.error("request failed", call_id=number, exc_info=exc)
        message = f"internal error; the gateway's log has it under call id {number}"
        return _form(request, 500, f"{message}\n", ProblemBody("internal", message, call_id=number), {})
    answer = told(type(exc), retelling(other or {}))
    if answer.status >= 500 and answer.status != 501:
        _log.error("request failed", call_id=number, code=exc.code, reason=exc.message, detail=exc.detail)
    elif exc.detail:
        _log.info("request refused", call_id=number, code=exc.code, reason=exc.message, detail=exc.detail)
    text = exc.message if answer.text is None else answer.text
    if exc.hint and answer.text is None:
        text += f"\nhint: {exc.hint}"
    headers: dict[str, str] = {}
    wait = exc.retry_after if isinstance(exc, errors.Overloaded) else _SOON if answer.status == 503 else None
    if wait is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
        if isinstance(exc, errors.RateLimited) and exc.policy is not None:
            limit, quota, window = exc.policy
            headers["RateLimit"] = f'"{limit}";r=0;t={headers["Retry-After"]}'
            headers["RateLimit-Policy"] = f'"{limit}";q={quota};w={window}'
    body = ProblemBody(code=exc.code, message=exc.message, hint=exc.hint, call_id=number)
    return _form(request, answer.status, f"{text}\n" if text else "", body, headers)


def call_id(headers: Mapping[str, str]) -> str:
    """The caller's call id if it is sane, else a new one. `headers` have names in lower case."""
    given = headers.get(names.CALL_ID.lower(), "")
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


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def _form(
    request: Mapping[str, str], status: int, text: str, problem: ProblemBody, headers: Mapping[str, str]
) -> Problematic:
    if prefers_json(request.get("accept", "")):
        return Problematic(status, msgspec.json.encode(Problem(problem)) + b"\n", as_json=True, headers=headers)
    return Problematic(status, text.encode(), as_json=False, headers=headers)
