"""Errors of the client: answers of the gateway as the platform's own exceptions, and failures of the way to it."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from hilbert.core import errors
from hilbert.core.errors import HilbertError
from hilbert.wire.problem import Problem, ProblemBody


class GatewayUnreachable(errors.BackendUnavailable):
    """No connection to the gateway."""

    code = "gateway-unreachable"


class GatewayTimeout(errors.BackendUnavailable):
    """The gateway did not answer in time."""

    code = "gateway-timeout"


class UnexpectedAnswer(errors.BackendError):
    """The gateway answered with a status that says nothing more exact. `status` and `body` hold it."""

    code = "unexpected-answer"

    def __init__(self, message: str, *, status: int, body: str = "", detail: str = "", hint: str = "") -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.status = status
        self.body = body


Subject = Literal["function", "namespace", "secret", ""]
"""What a call is about, so that 404 and 409 can say what is missing or taken."""

_MISSING: Final[dict[str, type[errors.NotFound]]] = {
    "function": errors.FunctionNotFound,
    "namespace": errors.NamespaceNotFound,
    "secret": errors.SecretNotFound,
}
_BY_STATUS: Final[dict[int, type[HilbertError]]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Unsupported,
    409: errors.Conflict,
    413: errors.Invalid,
    422: errors.Invalid,
    429: errors.RateLimited,
    501: errors.Unsupported,
    503: errors.BackendUnavailable,
    507: errors.StorageFull,
}
_MOST_SHOWN: Final = 2000


def error_of(
    status: int, content_type: str, body: bytes, *, subject: Subject = "", name: str = "", retry_after: str = ""
) -> HilbertError:
    """The exception for an answer that is not a success.

    A problem document (`wire.problem`) decides by its `code`; without one, the status does. The text is the server's.
    """
    problem = _problem(content_type, body)
    text = problem.message or _text(body)
    kind = _kinds().get(problem.code) or _by_status(status, subject)
    if kind is None:
        return UnexpectedAnswer(
            f"server returned unexpected status code: {status}" + (f" - {text}" if text else ""),
            status=status,
            body=text,
            hint=problem.hint,
        )
    hint = problem.hint
    if kind is errors.Unauthenticated:
        text = f"unauthorized access{f': {text}' if text else ''}"
        hint = hint or 'run "hilbert login" to set up credentials for this gateway'
    if not text:
        text = f"not found: {subject} {name}".rstrip() if status == 404 else f"the gateway answered {status}"
    if issubclass(kind, errors.Overloaded):
        return kind(text, hint=hint, retry_after=_seconds(retry_after))
    return kind(text, hint=hint)


def _by_status(status: int, subject: Subject) -> type[HilbertError] | None:
    if status == 404 and subject:
        return _MISSING[subject]
    if status == 409 and subject in ("namespace", "secret"):
        return errors.AlreadyExists
    return _BY_STATUS.get(status)


def _kinds() -> dict[str, type[HilbertError]]:
    """Every exception of the domain by its code."""
    found: dict[str, type[HilbertError]] = {}
    waiting: list[type[HilbertError]] = [HilbertError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == errors.__name__ and kind is not HilbertError:
            found[kind.code] = kind
    return found


def _problem(content_type: str, body: bytes) -> ProblemBody:
    if "json" in content_type:
        try:
            return msgspec.json.decode(body, type=Problem).error
        except msgspec.MsgspecError:
            pass
    return ProblemBody(code="", message="")


def _text(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def _seconds(retry_after: str) -> float | None:
    return min(float(retry_after), math.inf) if retry_after.isascii() and retry_after.isdigit() else None
