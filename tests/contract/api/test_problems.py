"""Errors as clients see them: text or JSON, the status of each class, and nothing private."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from hilbert.api.problems import TABLE, Told, prefers_json, told
from hilbert.core import errors
from hilbert.core.errors import HilbertError
from hilbert.core.model import FunctionStatus
from hilbert.core.values import NamespaceName
from hilbert.providers.memory import MemoryProvider
from support.api import error_classes, running

pytestmark = pytest.mark.anyio

STATUSES = {
    "Invalid": 400,
    "InvalidName": 400,
    "InvalidSpec": 400,
    "InvalidStack": 400,
    "InvalidSettings": 400,
    "NotFound": 404,
    "FunctionNotFound": 404,
    "NamespaceNotFound": 400,
    "SecretNotFound": 404,
    "Conflict": 409,
    "AlreadyExists": 409,
    "CallNotFound": 404,
    "KeyReused": 422,
    "LeaseLost": 409,
    "Denied": 403,
    "Unauthenticated": 401,
    "Forbidden": 403,
    "ReservedNamespace": 403,
    "Unsupported": 501,
    "Overloaded": 503,
    "TooLarge": 413,
    "QuotaExceeded": 403,
    "QueueFull": 503,
    "RateLimited": 429,
    "BackendError": 500,
    "BackendUnavailable": 503,
    "ImageUnavailable": 400,
    "StartFailed": 500,
    "StorageFull": 507,
    "InvocationError": 502,
    "UpstreamUnreachable": 502,
    "UpstreamTimeout": 504,
    "ActivationTimeout": 503,
}


def test_every_class_of_the_tree_has_its_status() -> None:
    assert {kind.__name__: told(kind).status for kind in error_classes()} == STATUSES


def test_the_table_has_nothing_that_is_not_needed() -> None:
    for kind, answer in TABLE.items():
        rest = {other: found for other, found in TABLE.items() if other is not kind}
        bases = [base for base in kind.__mro__ if base in rest]
        assert not bases or rest[bases[0]] != answer, kind


def test_a_class_without_a_status_is_a_mistake_that_shows() -> None:
    with pytest.raises(KeyError):
        told(HilbertError)
    assert told(HilbertError, {HilbertError: Told(500)}).status == 500


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/json", True),
        ("application/json, application/problem+json", True),
        ("application/json, text/plain, */*", True),
        ("text/plain, application/json;q=0.5", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json;q=0", False),
        ("APPLICATION/JSON ; q=0.3", True),
        ("application/json;q=nan", False),
        ("application/json;q=x", False),
        (";;;,,,q=", False),
    ],
)
def test_who_prefers_json(accept: str, json: bool) -> None:
    assert prefers_json(accept) is json


class Failing(MemoryProvider):
    """Answers every list with the same error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        raise self.error


async def failed(error: Exception, *, accept: str = "*/*") -> tuple[int, str, dict[str, str], list[dict[str, object]]]:
    provider = Failing(error)
    with capture_logs() as logged:
        async with running(provider) as api:
            headers = {"Accept": accept, "X-Call-Id": "the-call"}
            answer = await api.call("GET", "/system/functions", headers=headers)
    await provider.close()
    return answer.status, answer.text, dict(answer.headers), [dict(entry) for entry in logged]


async def test_a_message_and_its_hint_as_text() -> None:
    error = errors.InvalidSpec("the sentence", hint="do this", detail="private")
    status, text, headers, logged = await failed(error)
    assert (status, text) == (400, "the sentence\nhint: do this\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    (entry,) = [entry for entry in logged if entry.get("detail") == "private"]
    assert entry["call_id"] == "the-call"


async def test_the_same_as_json() -> None:
    error = errors.InvalidSpec("the sentence", hint="do this", detail="private")
    status, text, headers, _ = await failed(error, accept="application/json")
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert text == (
        '{"error":{"code":"invalid-spec","message":"the sentence","hint":"do this","call_id":"the-call"}}\n'
    )


async def test_what_nobody_foresaw_shows_its_call_id_alone() -> None:
    for accept in ("*/*", "application/json"):
        status, text, _, logged = await failed(RuntimeError("password=hunter2"), accept=accept)
        assert status == 500
        assert "the-call" in text
        assert "hunter2" not in text
        (entry,) = [entry for entry in logged if entry["log_level"] == "error"]
        assert entry["call_id"] == "the-call"
        assert "hunter2" in str(entry["exc_info"])


async def test_a_backend_that_is_away() -> None:
    status, text, _, logged = await failed(errors.BackendUnavailable("no answer", detail="10.0.0.1"))
    assert (status, text) == (503, "no answer\n")
    assert [entry["detail"] for entry in logged if entry["log_level"] == "error"] == ["10.0.0.1"]


async def test_a_full_disk() -> None:
    status, text, _, _ = await failed(errors.StorageFull("the disk is full", hint="make room"))
    assert (status, text) == (507, "the disk is full\nhint: make room\n")


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.5, "2"), (30.0, "30")])
async def test_when_to_come_back(seconds: float, header: str) -> None:
    status, _, headers, _ = await failed(errors.RateLimited("slowly", retry_after=seconds))
    assert (status, headers["retry-after"]) == (429, header)


async def test_waiting_does_not_help_against_a_quota() -> None:
    status, _, headers, _ = await failed(errors.QuotaExceeded("no more"))
    assert status == 403
    assert "retry-after" not in headers


async def test_a_call_id_that_is_not_sane_is_replaced() -> None:
    async with running() as api:
        for bad in ("x" * 200, "a b", "<script>", "é"):
            headers = {"Accept": "application/json", "X-Call-Id": bad}
            found = (await api.call("GET", "/nope", headers=headers)).json["error"]["call_id"]
            assert found != bad
            assert len(found) == 36


async def test_routers_own_refusals_as_json() -> None:
    async with running() as api:
        for method, path, status, code in (
            ("GET", "/nope", 404, "no-such-path"),
            ("PATCH", "/system/functions", 405, "method-not-allowed"),
            ("GET", "/system/function/nope", 404, "function-not-found"),
            ("GET", "/system/functions?namespace=nope", 400, "namespace-not-found"),
        ):
            answer = await api.call(method, path, headers={"Accept": "application/json"})
            assert (answer.status, answer.json["error"]["code"]) == (status, code)
