"""What every queue does, as tests: subclass `QueueContract` and give it a `subject` fixture.

    @pytest.fixture
    async def subject() -> AsyncIterator[QueueSubject]: ...

    class TestMine(QueueContract):
        pass

`queue_machine` in `hilbert.testing.queue_machine` compares a queue with the specification in random histories.
"""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import pytest

from hilbert.core.errors import CallNotFound, KeyReused, LeaseLost, QueueFull
from hilbert.core.ports.queue import (
    KEPT_FOR,
    Again,
    CallState,
    Finished,
    GivenUp,
    Lease,
    Queue,
    QueueBounds,
    QueueCounts,
    QueuedCall,
    QueueRecords,
)
from hilbert.core.ports.schedules import Marks
from hilbert.core.values import FunctionRef, NamespaceName

BOUNDS: Final = QueueBounds(function_calls=6, function_bytes=60, namespace_calls=8, namespace_bytes=80, finished=4)
"""The bounds that a subject must have."""
HERE: Final = NamespaceName("here")
THERE: Final = NamespaceName("there")
F: Final = FunctionRef.parse("f.here")
G: Final = FunctionRef.parse("g.here")
ELSEWHERE: Final = FunctionRef.parse("f.there")


class FullQueue(Queue, QueueRecords, Marks, Protocol):
    """All three ports at once. `hilbert.testing.schedule_marks` has the suite of the third."""


class QueueSubject(Protocol):
    """A queue under test, with `BOUNDS`."""

    @property
    def queue(self) -> FullQueue: ...


def call(name: str, ref: FunctionRef = F, *, due: float = 0.0, body: bytes = b"x", key: str = "") -> QueuedCall:
    """A call to put."""
    return QueuedCall(id=name, ref=ref, due=due, body=body, key=key)


async def counts_of(queue: FullQueue, ref: FunctionRef = F) -> QueueCounts:
    """The counts of one function, which must add up."""
    counts = next((found for found in await queue.counts() if found.ref == ref), QueueCounts(ref=ref))
    assert counts.accepted == counts.queued + counts.running + counts.finished + counts.dead + counts.forgotten
    return counts


async def lend(queue: FullQueue, ref: FunctionRef = F, *, now: float = 1.0, until: float = 10.0) -> Lease:
    """The one call that can be leased."""
    (lease,) = await queue.lease(ref, count=1, now=now, until=until)
    return lease


@pytest.mark.anyio
class QueueContract:
    """The behaviour list."""

    async def test_a_call_goes_from_put_to_its_end(self, subject: QueueSubject) -> None:
        queue = subject.queue
        assert await queue.put([call("a", body=b"request")], now=1) == ["a"]
        record = await queue.look_up(HERE, "a", now=1)
        assert (record.state, record.put_at, record.attempts, record.size) == (CallState.QUEUED, 1, 0, 7)
        lease = await lend(queue)
        assert (lease.call.body, lease.call.ref, lease.attempt, lease.put_at) == (b"request", F, 1, 1)
        assert (await queue.look_up(HERE, "a", now=1)).state is CallState.RUNNING
        await queue.settle("a", lease.epoch, Finished(succeeded=True, reason="200"), now=3)
        record = await queue.look_up(HERE, "a", now=3)
        assert (record.state, record.finished_at, record.reason) == (CallState.SUCCEEDED, 3, "200")
        assert await queue.lease(F, count=1, now=99, until=100) == []
        with pytest.raises(CallNotFound):
            await queue.body(HERE, "a")

    async def test_no_call_is_lent_before_it_is_due(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("late", due=50), call("soon", due=20)], now=1)
        assert await queue.lease(F, count=9, now=19.9, until=30) == []
        assert (await counts_of(queue)).next_due == 20
        assert [lease.call.id for lease in await queue.lease(F, count=9, now=60, until=90)] == ["soon", "late"]

    async def test_calls_are_lent_by_due_time_then_in_order(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("1", due=5), call("2", due=4), call("3", due=5)], now=1)
        await queue.put([call("4", due=4)], now=2)
        assert [lease.call.id for lease in await queue.lease(F, count=3, now=5, until=9)] == ["2", "4", "1"]
        assert [lease.call.id for lease in await queue.lease(F, count=3, now=5, until=9)] == ["3"]
        assert await queue.lease(F, count=0, now=5, until=9) == []

    async def test_functions_do_not_get_each_others_calls(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a"), call("b", G), call("c", ELSEWHERE)], now=1)
        assert (await lend(queue, ELSEWHERE)).call.id == "c"
        assert (await lend(queue, G)).call.id == "b"
        assert (await lend(queue)).call.id == "a"

    async def test_nobody_else_gets_a_lent_call_until_its_lease_is_over(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        first = await lend(queue, until=10)
        assert await queue.lease(F, count=1, now=9.9, until=20) == []
        assert (await counts_of(queue)).next_due == 10
        second = await lend(queue, now=10, until=20)
        assert (second.attempt, second.epoch != first.epoch) == (2, True)
        with pytest.raises(LeaseLost):
            await queue.settle("a", first.epoch, Finished(succeeded=True), now=11)
        assert await queue.extend([("a", first.epoch)], until=99) == {"a"}
        await queue.settle("a", second.epoch, Finished(succeeded=False), now=12)
        assert (await queue.look_up(HERE, "a", now=12)).state is CallState.FAILED

    async def test_a_lease_that_is_over_still_settles_while_nobody_else_has_it(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        lease = await lend(queue, until=10)
        await queue.settle("a", lease.epoch, Finished(succeeded=True), now=50)

    async def test_extending_keeps_a_lease_and_names_the_lost_ones(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a"), call("b"), call("c")], now=1)
        leases = {lease.call.id: lease.epoch for lease in await queue.lease(F, count=3, now=1, until=10)}
        await queue.settle("b", leases["b"], Finished(succeeded=True), now=2)
        await queue.cancel(HERE, "c", now=2)
        assert await queue.extend([*leases.items(), ("never", 1)], until=30) == {"b", "c", "never"}
        assert await queue.lease(F, count=9, now=29, until=40) == []
        await queue.extend([("a", leases["a"])], until=5)
        assert (await counts_of(queue)).next_due == 30

    async def test_a_settled_call_cannot_be_settled_again(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        lease = await lend(queue)
        await queue.settle("a", lease.epoch, Finished(succeeded=True), now=2)
        with pytest.raises(LeaseLost):
            await queue.settle("a", lease.epoch, GivenUp(reason="no"), now=3)
        with pytest.raises(LeaseLost):
            await queue.settle("never", 1, GivenUp(reason="no"), now=3)
        assert (await counts_of(queue)).finished == 1

    async def test_an_attempt_may_be_followed_by_another(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        lease = await lend(queue)
        await queue.settle("a", lease.epoch, Again(due=30, reason="503"), now=2)
        record = await queue.look_up(HERE, "a", now=2)
        assert (record.state, record.due, record.attempts, record.reason) == (CallState.QUEUED, 30, 1, "503")
        assert await queue.lease(F, count=1, now=29, until=40) == []
        assert (await lend(queue, now=30, until=40)).attempt == 2

    async def test_an_attempt_that_is_handed_back_is_not_counted(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        first = await lend(queue)
        await queue.settle("a", first.epoch, Again(due=1, counts=False), now=2)
        second = await lend(queue, now=2)
        assert (second.attempt, second.epoch != first.epoch) == (1, True)

    async def test_a_dead_letter_keeps_request_answer_and_reason(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a", body=b"request")], now=1)
        lease = await lend(queue)
        await queue.settle("a", lease.epoch, GivenUp(reason="ten attempts", answer=b"500 oh"), now=2)
        await queue.expire(now=2 + 2 * KEPT_FOR)
        record = await queue.look_up(HERE, "a", now=99)
        assert (record.state, record.reason, record.answer) == (CallState.DEAD, "ten attempts", b"500 oh")
        assert await queue.body(HERE, "a") == b"request"
        assert await queue.lease(F, count=1, now=99, until=100) == []
        counts = await counts_of(queue)
        assert (counts.dead, counts.size) == (1, len(b"request") + len(b"500 oh"))

    async def test_dead_letters_can_be_redriven(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await self._dead(queue, "a", "b", "c")
        assert await queue.redrive(THERE, now=5) == 0
        assert await queue.redrive(HERE, calls=["a", "never"], function="g", now=5) == 0
        assert await queue.redrive(HERE, calls=["a", "never"], now=5) == 1
        record = await queue.look_up(HERE, "a", now=5)
        assert (record.state, record.due, record.attempts, record.answer) == (CallState.QUEUED, 5, 0, b"")
        assert await queue.redrive(HERE, function="f", now=6) == 2
        assert [(lease.call.id, lease.attempt) for lease in await queue.lease(F, count=9, now=6, until=9)] == [
            ("a", 1),
            ("b", 1),
            ("c", 1),
        ]

    async def test_dead_letters_can_be_purged(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await self._dead(queue, "a", "b", "c")
        await queue.put([call("alive")], now=3)
        assert await queue.purge(THERE) == 0
        assert await queue.purge(HERE, calls=["b", "alive"]) == 1
        with pytest.raises(CallNotFound):
            await queue.look_up(HERE, "b", now=3)
        assert await queue.purge(HERE) == 2
        counts = await counts_of(queue)
        assert (counts.dead, counts.queued, counts.forgotten, counts.size) == (0, 1, 3, 1)

    async def test_a_key_is_put_once(self, subject: QueueSubject) -> None:
        queue = subject.queue
        assert await queue.put([call("a", key="k")], now=1) == ["a"]
        assert await queue.put([call("b", key="k")], now=2) == ["a"]
        assert await queue.put([call("c", ELSEWHERE, key="k")], now=2) == ["c"], "keys are a namespace's own"
        lease = await lend(queue)
        await queue.settle("a", lease.epoch, Finished(succeeded=True), now=3)
        assert await queue.put([call("d", key="k")], now=4) == ["a"], "also once it has ended"
        assert (await counts_of(queue)).accepted == 1

    async def test_a_key_with_another_request_is_refused(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a", key="k")], now=1)
        for other in (call("b", key="k", body=b"y"), call("b", G, key="k")):
            with pytest.raises(KeyReused):
                await queue.put([call("new"), other], now=2)
        with pytest.raises(CallNotFound):
            await queue.look_up(HERE, "new", now=2)
        assert (await counts_of(queue)).accepted == 1

    async def test_a_fingerprint_says_what_must_be_equal(self, subject: QueueSubject) -> None:
        queue = subject.queue
        first = QueuedCall(id="a", ref=F, due=0, body=b"first", key="k", fingerprint=b"1")
        await queue.put([first], now=1)
        again = QueuedCall(id="b", ref=F, due=0, body=b"second", key="k", fingerprint=b"1")
        assert await queue.put([again], now=1) == ["a"]
        with pytest.raises(KeyReused):
            await queue.put([QueuedCall(id="c", ref=F, due=0, body=b"first", key="k", fingerprint=b"2")], now=1)
        assert (await lend(queue)).call.body == b"first"

    async def test_who_put_a_call_is_known_to_its_end(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([QueuedCall(id="a", ref=F, due=0, body=b"x", by="token:1"), call("b")], now=1)
        lease = await lend(queue)
        assert lease.call.by == "token:1"
        await queue.settle("a", lease.epoch, Finished(succeeded=True), now=2)
        assert (await queue.look_up(HERE, "a", now=3)).by == "token:1"
        assert [one.by for one in await queue.list_calls(HERE, limit=5)] == ["token:1", ""]

    async def test_a_call_can_be_found_by_its_id_alone(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a", ELSEWHERE)], now=1)
        assert (await queue.look_up(None, "a", now=1)).ref == ELSEWHERE
        with pytest.raises(CallNotFound):
            await queue.look_up(None, "never", now=1)

    async def test_the_same_key_twice_in_one_put(self, subject: QueueSubject) -> None:
        queue = subject.queue
        assert await queue.put([call("a", key="k"), call("b", key="k")], now=1) == ["a", "a"]
        assert (await counts_of(queue)).queued == 1

    async def test_a_put_whose_answer_was_lost_can_be_repeated(self, subject: QueueSubject) -> None:
        queue = subject.queue
        batch = [call("a"), call("b", key="k")]
        assert await queue.put(batch, now=1) == await queue.put(batch, now=2) == ["a", "b"]
        assert (await counts_of(queue)).accepted == 2
        with pytest.raises(KeyReused):
            await queue.put([call("a", ELSEWHERE)], now=2)

    @pytest.mark.parametrize(
        ("calls", "bound"),
        [
            ([call(f"{n}") for n in range(7)], "function f.here"),
            ([call("big", body=b"x" * 61)], "function f.here"),
            ([call(f"{n}", F if n % 2 else G) for n in range(9)], "namespace here"),
            ([call("1", body=b"x" * 50), call("2", G, body=b"x" * 31)], "namespace here"),
        ],
    )
    async def test_bounds_refuse_all_of_a_put(self, subject: QueueSubject, calls: list[QueuedCall], bound: str) -> None:
        queue = subject.queue
        with pytest.raises(QueueFull, match=bound) as caught:
            await queue.put(calls, now=1)
        assert caught.value.retry_after
        assert (await counts_of(queue)).accepted == 0
        assert await queue.put(calls[:1], now=2) == [calls[0].id] if len(calls) > 1 else True

    async def test_a_put_may_come_with_bounds_of_its_own(self, subject: QueueSubject) -> None:
        queue = subject.queue
        tight = {F: QueueBounds(function_calls=1, function_bytes=60, namespace_calls=8, namespace_bytes=80)}
        wide = {F: QueueBounds(function_calls=9, function_bytes=60, namespace_calls=9, namespace_bytes=80)}
        await queue.put([call("a")], now=1, bounds=tight)
        with pytest.raises(QueueFull, match=r"function f\.here is full: it may hold 1 calls"):
            await queue.put([call("b")], now=1, bounds=tight)
        await queue.put([call("c", G), call("d", G)], now=1, bounds=tight)
        await queue.put([call(f"{n}") for n in range(6)], now=2, bounds=wide)
        with pytest.raises(QueueFull, match="namespace here"):
            await queue.put([call("e")], now=2)

    async def test_what_has_ended_makes_room_and_dead_letters_do_not(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call(f"{n}") for n in range(6)], now=1)
        leases = await queue.lease(F, count=2, now=1, until=9)
        await queue.settle(leases[0].call.id, leases[0].epoch, GivenUp(reason="no"), now=2)
        with pytest.raises(QueueFull):
            await queue.put([call("more")], now=2)
        await queue.settle(leases[1].call.id, leases[1].epoch, Finished(succeeded=True), now=2)
        await queue.put([call("more")], now=2)

    async def test_answers_take_up_room_until_their_time_is_over(self, subject: QueueSubject) -> None:
        queue = subject.queue
        for name, answer in (("a", b"a" * 40), ("b", b"b" * 15)):
            await queue.put([call(name)], now=1)
            lease = await lend(queue)
            await queue.settle(name, lease.epoch, Finished(succeeded=True, answer=answer, answer_until=50), now=2)
        assert (await counts_of(queue)).size == 55
        await queue.put([call("c", body=b"x" * 5)], now=3)
        with pytest.raises(QueueFull, match="60 bytes"):
            await queue.put([call("d")], now=3)
        await queue.expire(now=50)
        assert (await counts_of(queue)).size == 5
        await queue.put([call("d")], now=51)

    async def test_a_clock_that_is_put_back_holds_nothing_up(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("early", due=900)], now=900)
        await queue.put([call("again"), call("running")], now=1_000)
        await queue.put([call("unseen", due=1_005)], now=1_005)
        first, second = sorted(
            (lease for lease in await queue.lease(F, count=9, now=1_000, until=1_060) if lease.call.id != "early"),
            key=lambda lease: lease.call.id,
        )
        await queue.settle("again", first.epoch, Again(due=1_010), now=1_000)
        await queue.put([call("later", due=1_030)], now=1_001)
        assert await queue.lease(F, count=9, now=101, until=160) == []

        assert await queue.pull_in(before=1_000, now=100) == 4
        assert (await queue.look_up(HERE, "later", now=100)).due == 1_030, "not before the time that was named"
        assert {lease.call.id for lease in await queue.lease(F, count=9, now=100, until=160)} == {"unseen"}
        assert {lease.call.id for lease in await queue.lease(F, count=9, now=110, until=160)} == {"again"}
        assert await queue.extend([("running", second.epoch)], until=161) == set()
        assert await queue.pull_in(before=110, now=110) == 0

    async def test_a_queued_call_can_be_cancelled(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        record = await queue.cancel(HERE, "a", now=2, reason="asked")
        assert (record.state, record.finished_at, record.reason) == (CallState.CANCELLED, 2, "asked")
        assert await queue.cancel(HERE, "a", now=3, reason="again") == record
        assert await queue.lease(F, count=1, now=9, until=10) == []

    async def test_cancelling_a_running_call_takes_its_lease(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        lease = await lend(queue)
        await queue.cancel(HERE, "a", now=2)
        with pytest.raises(LeaseLost):
            await queue.settle("a", lease.epoch, Again(due=3), now=3)
        assert await queue.lease(F, count=1, now=99, until=100) == []

    async def test_a_call_that_has_ended_is_not_cancelled(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        lease = await lend(queue)
        await queue.settle("a", lease.epoch, Finished(succeeded=True), now=2)
        assert (await queue.cancel(HERE, "a", now=3)).state is CallState.SUCCEEDED

    async def test_other_namespaces_see_nothing_of_a_call(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a")], now=1)
        with pytest.raises(CallNotFound) as missing:
            await queue.look_up(THERE, "never", now=1)
        for work in (
            queue.look_up(THERE, "a", now=1),
            queue.cancel(THERE, "a", now=1),
            queue.body(THERE, "a"),
        ):
            with pytest.raises(CallNotFound) as caught:
                await work
            assert caught.value.message == missing.value.message.replace("never", "a")
        assert await queue.list_calls(THERE, limit=9) == []
        assert (await queue.look_up(HERE, "a", now=1)).state is CallState.QUEUED

    async def test_an_answer_is_kept_for_its_time(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a"), call("b")], now=1)
        for lease, until in zip(await queue.lease(F, count=2, now=1, until=9), (50.0, 0.0), strict=True):
            done = Finished(succeeded=True, answer=b"result", answer_until=until)
            await queue.settle(lease.call.id, lease.epoch, done, now=2)
        assert (await queue.look_up(HERE, "a", now=49)).answer == b"result"
        assert (await queue.look_up(HERE, "a", now=50)).answer == b""
        assert (await queue.look_up(HERE, "b", now=3)).answer == b""
        await queue.expire(now=50)
        assert (await queue.look_up(HERE, "a", now=3)).answer == b""

    async def test_calls_that_ended_are_forgotten_by_age_and_by_number(self, subject: QueueSubject) -> None:
        queue = subject.queue
        for number in range(6):
            await queue.put([call(f"{number}", key=f"k{number}")], now=1)
            lease = await lend(queue)
            await queue.settle(lease.call.id, lease.epoch, Finished(succeeded=True), now=float(number))
        await queue.put([call("open", key="open")], now=1)
        assert await queue.expire(now=5) == 2, "the oldest beyond the bound"
        assert [record.id for record in await queue.list_calls(HERE, limit=9)] == ["2", "3", "4", "5", "open"]
        assert await queue.put([call("anew", key="k0")], now=6) == ["anew"], "a forgotten key is free"
        assert await queue.expire(now=KEPT_FOR + 3) == 2
        assert await queue.expire(now=KEPT_FOR + 100) == 2
        counts = await counts_of(queue)
        assert (counts.finished, counts.forgotten, counts.queued, counts.accepted) == (0, 6, 2, 8)

    async def test_listing_goes_page_by_page(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a"), call("b", G), call("c"), call("d", ELSEWHERE)], now=1)
        await queue.cancel(HERE, "c", now=2)
        page = await queue.list_calls(HERE, limit=2)
        assert [record.id for record in page] == ["a", "b"]
        assert [record.id for record in await queue.list_calls(HERE, after=page[-1].number, limit=2)] == ["c"]
        assert [record.id for record in await queue.list_calls(HERE, function="g", limit=9)] == ["b"]
        assert [record.id for record in await queue.list_calls(HERE, state=CallState.CANCELLED, limit=9)] == ["c"]

    async def test_a_removed_functions_calls_are_cancelled(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a"), call("b"), call("g", G)], now=1)
        lease = (await queue.lease(F, count=1, now=1, until=9))[0]
        assert await queue.cancel_function(F, reason="the function was removed", now=2) == 2
        assert await queue.cancel_function(F, reason="the function was removed", now=3) == 0
        assert (await queue.look_up(HERE, "b", now=2)).reason == "the function was removed"
        assert (await queue.look_up(HERE, "g", now=2)).state is CallState.QUEUED
        with pytest.raises(LeaseLost):
            await queue.settle(lease.call.id, lease.epoch, Finished(succeeded=True), now=3)

    async def test_a_removed_namespace_leaves_nothing(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await self._dead(queue, "dead")
        await queue.put([call("a", key="k"), call("b"), call("g", G)], now=1)
        lease = (await queue.lease(F, count=1, now=1, until=9))[0]
        await queue.put([call("there", ELSEWHERE)], now=1)
        await queue.forget_namespace(HERE)
        await queue.forget_namespace(HERE)
        assert await queue.list_calls(HERE, limit=9) == []
        assert [counts.ref for counts in await queue.counts()] == [ELSEWHERE]
        with pytest.raises(LeaseLost):
            await queue.settle(lease.call.id, lease.epoch, Finished(succeeded=True), now=3)
        assert await queue.put([call("new", key="k", body=b"other")], now=4) == ["new"]
        assert (await counts_of(queue)).accepted == 1

    async def test_many_at_once_are_lent_to_one_each(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call(f"{n}") for n in range(6)], now=1)
        found = await asyncio.gather(*(queue.lease(F, count=2, now=1, until=9) for _ in range(6)))
        lent = [lease.call.id for leases in found for lease in leases]
        assert sorted(lent) == [f"{n}" for n in range(6)]

    async def _dead(self, queue: FullQueue, *names: str) -> None:
        await queue.put([call(name) for name in names], now=1)
        for lease in await queue.lease(F, count=9, now=1, until=9):
            await queue.settle(lease.call.id, lease.epoch, GivenUp(reason="no", answer=b"last"), now=2)
