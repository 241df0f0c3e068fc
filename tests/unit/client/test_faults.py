"""Answers as exceptions."""

from __future__ import annotations

import json

import pytest

from hilbert.client.faults import Subject, UnexpectedAnswer, error_of
from hilbert.core import errors


@pytest.mark.parametrize(
    ("status", "subject", "kind"),
    [
        (400, "", errors.Invalid),
        (401, "", errors.Unauthenticated),
        (403, "", errors.Forbidden),
        (404, "", errors.NotFound),
        (404, "function", errors.FunctionNotFound),
        (404, "namespace", errors.NamespaceNotFound),
        (404, "secret", errors.SecretNotFound),
        (409, "function", errors.Conflict),
        (409, "secret", errors.AlreadyExists),
        (409, "namespace", errors.AlreadyExists),
        (429, "", errors.RateLimited),
        (501, "", errors.Unsupported),
        (503, "", errors.BackendUnavailable),
        (507, "", errors.StorageFull),
        (500, "", UnexpectedAnswer),
        (302, "", UnexpectedAnswer),
    ],
)
def test_the_status_decides_without_a_problem(status: int, subject: Subject, kind: type[Exception]) -> None:
    """As OpenFaaS's gateways answer: plain text."""
    error = error_of(status, "text/plain; charset=utf-8", b"the reason\n", subject=subject)
    assert type(error) is kind
    assert "the reason" in error.message


@pytest.mark.parametrize("code", [kind.code for kind in errors.Overloaded.__subclasses__()] + ["image-unavailable"])
def test_a_problem_s_code_decides_over_the_status(code: str) -> None:
    """With its message and hint."""
    body = json.dumps({"error": {"code": code, "message": "why", "hint": "what to do"}}).encode()
    error = error_of(500, "application/json", body, retry_after="7")
    assert (error.code, error.message, error.hint) == (code, "why", "what to do")
    if isinstance(error, errors.Overloaded):
        assert error.retry_after == 7


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error": 1}', b'{"error": {"code": "no-such"}}', b"\xff\xfe"])
def test_a_broken_problem_falls_back_to_the_status(body: bytes) -> None:
    """What the server sent badly does not hide its status."""
    assert type(error_of(404, "application/json", body, subject="secret", name="x")) is errors.SecretNotFound


def test_no_text_still_says_something() -> None:
    """OpenFaaS answers 404 with an empty body."""
    assert error_of(404, "", b"", subject="function", name="x").message == "not found: function x"


def test_a_long_text_is_cut() -> None:
    """An error is not a document."""
    assert len(error_of(400, "text/plain", b"a" * 10_000).message) < 2100
