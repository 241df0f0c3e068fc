"""The judge of queue histories finds what it is there to find."""

from __future__ import annotations

import msgspec
import pytest

from hilbert.core.ports.queue import CallRecord, CallState
from hilbert.core.values import FunctionRef
from support.queue_history import BROKEN_OFF, Acknowledged, Verdict, verdict

TOLD = Acknowledged("a", b"answer", CallState.SUCCEEDED, once=True)
RECORD = CallRecord(
    number=1,
    id="a",
    ref=FunctionRef.parse("f.here"),
    state=CallState.SUCCEEDED,
    put_at=10,
    due=10,
    attempts=1,
    size=1,
    finished_at=20,
)


def judge(*records: tuple[CallRecord, bytes], told: Acknowledged = TOLD, kills: tuple[float, ...] = ()) -> Verdict:
    return verdict([told], {record.id: (record, answer) for record, answer in records}, kills, needed={"f": 1}, slack=1)


def changed(**changes: object) -> CallRecord:
    return msgspec.structs.replace(RECORD, **changes)


def test_a_good_history() -> None:
    assert judge((RECORD, b"answer")) == Verdict()
    assert judge((RECORD, b"answer"), (changed(id="b"), b"other")).unheard == 1


@pytest.mark.parametrize(
    ("records", "word"),
    [
        ([], "is lost"),
        ([(changed(state=CallState.RUNNING), b"")], "running in the end"),
        ([(changed(state=CallState.DEAD), b"answer")], "is dead, not succeeded"),
        ([(RECORD, b"something else")], "without a run"),
        ([(RECORD, b"answer"), (changed(id="b"), b"answer")], "2 times in spite of its key"),
        ([(changed(attempts=2), b"answer")], "only 0 kills"),
    ],
)
def test_each_broken_promise_is_found(records: list[tuple[CallRecord, bytes]], word: str) -> None:
    (wrong,) = judge(*records).wrong
    assert word in wrong


def test_a_kill_explains_one_attempt_more() -> None:
    found = judge((changed(attempts=2), b"answer"), kills=(15.0,))
    assert (found.wrong, found.again, found.attempts) == ([], 1, 1)
    assert judge((changed(attempts=3), b"answer"), kills=(15.0,)).wrong
    assert judge((changed(attempts=2), b"answer"), kills=(8.0, 21.0)).wrong, "nothing was killed meanwhile"


@pytest.mark.parametrize("words", BROKEN_OFF)
def test_nobody_knows_what_an_attempt_that_was_broken_off_has_done(words: str) -> None:
    told = Acknowledged("a", b"500", CallState.DEAD, once=False)
    record = changed(state=CallState.DEAD, reason=f"given up; {words}")
    found = judge((record, b"0"), told=told, kills=(15.0,))
    assert (found.wrong, found.unknown) == ([], 1)
    assert judge((record, b"0"), told=told).wrong, "without a kill"
