"""What an answer means: OpenFaaS's rules as tables."""

from __future__ import annotations

import pytest

from hilbert.control.delivery.concurrency import Concurrency
from hilbert.control.delivery.request import QueuedAnswer, QueuedRequest
from hilbert.control.delivery.retries import RetryPolicy, decide, policy_of, retry_after

DEFAULT = RetryPolicy()


def answer(status: int, **fields: str) -> QueuedAnswer:
    named = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())
    return QueuedAnswer(status, named, b"")


@pytest.mark.parametrize(
    ("status", "succeeded", "again"),
    [
        (200, True, False),
        (202, True, False),
        (302, True, False),
        (400, False, False),
        (404, False, False),
        (408, False, True),
        (429, False, True),
        (500, False, True),
        (501, False, False),
        (502, False, True),
        (503, False, True),
        (504, False, True),
        (507, False, False),
    ],
)
def test_statuses(status: int, succeeded: bool, again: bool) -> None:
    found = decide(0, DEFAULT, 1, answer(status))
    assert (found.succeeded, found.wait is not None, found.dead) == (succeeded, again, False)


def test_no_answer_and_the_platforms_own_answers_are_always_tried_again() -> None:
    policy = RetryPolicy(codes=frozenset())
    assert decide(0, policy, 1, None).wait is not None
    assert decide(0, policy, 1, answer(404), internal=True).wait is not None
    assert decide(0, policy, 1, answer(404)).wait is None


@pytest.mark.parametrize(("attempt", "wait"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 120), (9, 120)])
def test_waits_double_up_to_the_most(attempt: int, wait: float) -> None:
    assert decide(0, RetryPolicy(jitter=0), attempt, answer(500)).wait == wait


def test_the_last_attempt_is_the_last() -> None:
    found = decide(0, RetryPolicy(attempts=3), 3, answer(500))
    assert (found.wait, found.dead) == (None, True)
    assert "given up after 3 attempts" in found.reason


def test_jitter_spreads_the_waits() -> None:
    assert decide(0, RetryPolicy(jitter=0.5), 2, answer(500), draw=lambda: 0.5).wait == 15


@pytest.mark.parametrize(
    ("status", "value", "wait"),
    [
        (429, "33", 33),
        (503, "500", 500),
        (429, "3", 10),  # never below the least wait
        (500, "33", 10),  # counts with 429 and 503 alone
        (429, "Thu, 01 Jan 1970 00:01:10 GMT", 70),
        (429, "soon", 10),
        (429, "-5", 10),
        (429, "99999999999999999999", 86_400),
    ],
)
def test_retry_after(status: int, value: str, wait: float) -> None:
    assert decide(0, RetryPolicy(jitter=0), 1, answer(status, Retry_After=value)).wait == wait


def test_a_date_that_has_passed_is_now() -> None:
    assert retry_after(b"Thu, 01 Jan 1970 00:01:10 GMT", 100) == 0


@pytest.mark.parametrize("value", [b"", b"\xff", b"Thu", b"Thu, 99 Foo 1970 00:01:10 GMT", b"1.5"])
def test_nonsense_is_nothing(value: bytes) -> None:
    assert retry_after(value, 0) is None


def test_annotations_of_a_function() -> None:
    policy, wrong = policy_of(
        {
            "com.openfaas.retry.attempts": "4",
            "com.openfaas.retry.codes": "429, 418",
            "com.openfaas.retry.min_wait": "2s",
            "com.openfaas.retry.max_wait": "1m",
            "com.hilbert.async.results": "1h",
        },
        DEFAULT,
    )
    assert wrong == []
    assert (policy.attempts, policy.codes, policy.min_wait, policy.max_wait, policy.results) == (
        4,
        {429, 418},
        2,
        60,
        3600,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("com.openfaas.retry.attempts", "0"),
        ("com.openfaas.retry.attempts", "1e3"),
        ("com.openfaas.retry.codes", "429;500"),
        ("com.openfaas.retry.codes", "99"),
        ("com.openfaas.retry.min_wait", "-1s"),
    ],
)
def test_a_wrong_annotation_leaves_the_default_and_is_told(key: str, value: str) -> None:
    policy, wrong = policy_of({key: value, "com.openfaas.retry.max_wait": "7s"}, DEFAULT)
    assert policy == RetryPolicy(max_wait=7)
    assert [text.startswith(f"annotation {key}: ") for text in wrong] == [True]


def test_concurrency_grows_while_it_is_used_and_falls_once_for_a_burst() -> None:
    found = Concurrency()
    for _ in range(200):
        found = found.answered(running=int(found.limit), most=20)
    assert found.limit == 20
    idle = found.answered(running=1, most=50)
    assert idle == found
    found = found.overloaded(100.0).overloaded(100.5)
    assert found.limit == pytest.approx(14)
    assert found.overloaded(101.0).limit == pytest.approx(9.8)
    for second in range(50):
        found = found.overloaded(200.0 + second)
    assert found.limit == 1


def test_requests_and_answers_come_back_as_they_were() -> None:
    request = QueuedRequest(
        "PUT", b"/a%2Fb?x=\xff", ((b"X-A", b"\xe9"), (b"X-A", b"2")), bytes(range(256)), "http://c", 3
    )
    assert QueuedRequest.load(request.dump()) == request
    reply = QueuedAnswer(418, ((b"A", b"1"), (b"a", b"2")), b"tea", cut=True)
    assert QueuedAnswer.load(reply.dump()) == reply
    assert (reply.field(b"a"), reply.field(b"b")) == (b"2", b"")
