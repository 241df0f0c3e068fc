"""What every queue does for schedules, as tests: subclass `MarksContract` beside `QueueContract`, with its `subject`."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import pytest

from hilbert.core.errors import CallNotFound, QueueFull
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef
from hilbert.testing.queue import ELSEWHERE, HERE, THERE, F, G, QueueSubject, call, counts_of


def mark(ref: FunctionRef = F, *, index: int = 0, version: int = 1, tick: float = 60.0, **more: object) -> Mark:
    """A mark to keep."""
    return Mark(ref=ref, index=index, version=version, rule="* * * * * UTC", tick=tick, **more)  # type: ignore[arg-type]


@pytest.mark.anyio
class MarksContract:
    """The behaviour list."""

    async def test_a_tick_and_its_call_are_one_step(self, subject: QueueSubject) -> None:
        queue = subject.queue
        assert await queue.marks() == []
        assert await queue.advance(mark(), call("a"), now=61)
        assert await queue.marks() == [mark(call="a")]
        assert (await queue.look_up(HERE, "a", now=61)).put_at == 61

    async def test_only_the_next_version_is_taken(self, subject: QueueSubject) -> None:
        """Of two gateways that fire one tick, one does."""
        queue = subject.queue
        assert not await queue.advance(mark(version=2), call("early"), now=60)
        assert await queue.advance(mark(), call("a"), now=61)
        for version in (1, 3):
            assert not await queue.advance(mark(version=version, tick=120), call(f"b{version}"), now=121)
        assert [found.call for found in await queue.marks()] == ["a"]
        assert (await counts_of(queue)).accepted == 1
        assert await queue.advance(mark(version=2, tick=120, waiting=120.0, paused=True), now=121)
        assert await queue.marks() == [mark(version=2, tick=120, waiting=120.0, paused=True)]

    async def test_a_call_that_is_refused_moves_no_mark(self, subject: QueueSubject) -> None:
        queue = subject.queue
        with pytest.raises(QueueFull):
            await queue.advance(mark(), call("a", body=b"x" * 61), now=61)
        assert await queue.marks() == []
        with pytest.raises(CallNotFound):
            await queue.look_up(HERE, "a", now=61)

    async def test_a_tick_whose_key_is_known_queues_nothing(self, subject: QueueSubject) -> None:
        queue = subject.queue
        await queue.put([call("a", key="tick")], now=60)
        assert await queue.advance(mark(), call("b", key="tick"), now=61)
        assert [found.call for found in await queue.marks()] == ["a"]
        assert (await counts_of(queue)).accepted == 1

    async def test_marks_are_told_in_order_and_by_namespace(self, subject: QueueSubject) -> None:
        queue = subject.queue
        for ref, index in ((G, 0), (ELSEWHERE, 0), (F, 1), (F, 0)):
            assert await queue.advance(mark(ref, index=index), now=1)
        assert [(found.ref, found.index) for found in await queue.marks(HERE)] == [(F, 0), (F, 1), (G, 0)]
        assert len(await queue.marks()) == 4

    async def test_what_forgets_marks(self, subject: QueueSubject) -> None:
        queue = subject.queue
        for ref, index in ((F, 0), (F, 1), (F, 2), (G, 0), (ELSEWHERE, 0)):
            assert await queue.advance(mark(ref, index=index), now=1)
        await queue.forget_marks(F, start=1)
        assert [(found.ref, found.index) for found in await queue.marks(HERE)] == [(F, 0), (G, 0)]
        await queue.cancel_function(F, reason="removed", now=2)
        assert [found.ref for found in await queue.marks()] == [G, ELSEWHERE]
        await queue.forget_namespace(HERE)
        assert [found.ref for found in await queue.marks()] == [ELSEWHERE]
        assert await queue.marks(HERE) == []
        await queue.forget_marks(ELSEWHERE)
        assert await queue.marks(THERE) == []
        assert await queue.advance(mark(), now=3), "it begins anew"
