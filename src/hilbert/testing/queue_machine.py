"""A queue against the specification: random histories in which both must answer alike, and lose and invent nothing."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hilbert.core.errors import HilbertError
from hilbert.core.ports.queue import OPEN, Again, CallState, Finished, GivenUp, Outcome
from hilbert.core.ports.schedules import Mark
from hilbert.queues.memory import MemoryQueue
from hilbert.testing.queue import BOUNDS, ELSEWHERE, HERE, THERE, F, FullQueue, G, call

_REFS: Final = st.sampled_from([F, F, G, ELSEWHERE])
_SPACES: Final = st.sampled_from([HERE, HERE, THERE])
_IDS: Final = st.sampled_from([f"call-{n}" for n in range(4)])
_KEYS: Final = st.sampled_from(["", "", "k1", "k2"])
_SOON: Final = st.sampled_from([0.0, 0.0, -5.0, 30.0])
_OUTCOMES: Final = st.one_of(
    st.builds(Finished, succeeded=st.booleans(), answer=st.sampled_from([b"", b"a"]), answer_until=st.just(1e9)),
    st.builds(Again, due=st.sampled_from([0.0, 50.0]), counts=st.booleans()),
    st.builds(GivenUp, reason=st.just("gave up"), answer=st.sampled_from([b"", b"last"])),
)


class QueueMachine(RuleBasedStateMachine):
    """Subclass it with `open` and `close`; `reopen` closes and opens again, as after a crash."""

    gives_back = False
    """Whether opening gives back all leases at once, as where one process alone has the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model = MemoryQueue(BOUNDS)
        self.subject = self.run(self.open())
        self.now = 100.0
        self.leases: list[tuple[str, int, int]] = []
        """Every lease ever given: id and the epochs in subject and model."""
        self.fresh = 0
        self.ended: dict[str, CallState] = {}
        """Ends that were seen. Only a redrive and a removed namespace take one back."""

    async def open(self) -> FullQueue:
        raise NotImplementedError

    async def close(self) -> None:
        """Close what `open` opened last."""

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def both(self, work: Callable[[FullQueue], Awaitable[Any]]) -> Any:
        """What both answer, or raise, which must be equal."""
        answers = [self.run(_tried(work(queue))) for queue in (self.subject, self.model)]
        assert answers[0] == answers[1]
        return answers[0]

    def both_together(self, works: Sequence[Callable[..., Awaitable[Any]]]) -> None:
        """As `both`, of several that are begun at one moment, in this order."""
        answers = [self.run(_all_tried([work(queue) for work in works])) for queue in (self.subject, self.model)]
        assert answers[0] == answers[1]

    @rule(name=_IDS, ref=_REFS, body=st.binary(max_size=20), key=st.sampled_from(["", "k1", "k2"]), due=_SOON)
    def put(self, name: str, ref: Any, body: bytes, key: str, due: float) -> None:
        self.both(lambda queue: queue.put([call(name, ref, due=self.now + due, body=body, key=key)], now=self.now))

    @rule(ref=_REFS, count=st.integers(1, 4))
    def put_new(self, ref: Any, count: int) -> None:
        names = [f"new-{self.fresh + number}" for number in range(count)]
        self.fresh += count
        self.both(lambda queue: queue.put([call(name, ref, due=self.now) for name in names], now=self.now))

    @rule(
        asked=st.lists(
            st.tuples(st.lists(_IDS, min_size=1, max_size=2), _REFS, st.sampled_from([b"", b"body"]), _KEYS),
            min_size=2,
            max_size=5,
        )
    )
    def put_together(self, asked: list[tuple[list[str], Any, bytes, str]]) -> None:
        """Several callers at one moment: one that is refused must not take others with it."""
        self.both_together(
            [
                lambda queue, one=one: queue.put(
                    [call(name, one[1], due=self.now, body=one[2], key=one[3]) for name in one[0]], now=self.now
                )
                for one in asked
            ]
        )

    @rule(asked=st.lists(st.tuples(_REFS, st.integers(0, 1), st.integers(0, 1), _KEYS), min_size=2, max_size=5))
    def advance_together(self, asked: list[tuple[Any, int, int, str]]) -> None:
        """Several ticks at one moment, also two of one schedule."""
        known = {(mark.ref, mark.index): mark.version for mark in self.run(self.model.marks())}
        works = []
        for ref, index, behind, key in asked:
            version = known.get((ref, index), 0) + 1 - behind
            mark = Mark(ref=ref, index=index, version=version, rule="* * * * *", tick=self.now)
            self.fresh += 1
            made = call(f"new-{self.fresh}", ref, due=self.now, key=key)
            works.append(lambda queue, mark=mark, made=made: queue.advance(mark, made, now=self.now))
        self.both_together(works)

    @rule(data=st.data(), outcomes=st.lists(_OUTCOMES, min_size=2, max_size=4))
    def settle_together(self, data: st.DataObject, outcomes: list[Outcome]) -> None:
        if not self.leases:
            return
        chosen = [data.draw(st.sampled_from(self.leases)) for _ in outcomes]
        mine = [(name, epoch) for name, epoch, _ in chosen]
        others = [(name, epoch) for name, _, epoch in chosen]
        answers = [
            self.run(
                _all_tried(
                    [
                        queue.settle(name, epoch, outcome, now=self.now)
                        for (name, epoch), outcome in zip(leases, outcomes, strict=True)
                    ]
                )
            )
            for queue, leases in ((self.subject, mine), (self.model, others))
        ]
        assert answers[0] == answers[1]

    @rule(ref=_REFS, index=st.integers(0, 1), behind=st.integers(0, 1), key=st.sampled_from(["", "k1"]))
    def advance(self, ref: Any, index: int, behind: int, key: str) -> None:
        """A tick of a schedule: by whoever knows its mark, or by somebody who is behind."""
        known = [mark for mark in self.run(self.model.marks()) if (mark.ref, mark.index) == (ref, index)]
        version = (known[0].version if known else 0) + 1 - behind
        mark = Mark(ref=ref, index=index, version=version, rule="* * * * *", tick=self.now)
        self.fresh += 1
        made = call(f"new-{self.fresh}", ref, due=self.now, key=key)
        self.both(lambda queue: queue.advance(mark, made, now=self.now))

    @rule(ref=_REFS, start=st.integers(0, 1))
    def forget_marks(self, ref: Any, start: int) -> None:
        self.both(lambda queue: queue.forget_marks(ref, start=start))

    @rule(data=st.data(), count=st.integers(0, 3), length=st.sampled_from([1.0, 60.0]))
    def lease(self, data: st.DataObject, count: int, length: float) -> None:
        self._lease(data.draw(self._refs()), count, length)

    def _lease(self, ref: Any, count: int, length: float) -> None:
        found = [
            self.run(queue.lease(ref, count=count, now=self.now, until=self.now + length))
            for queue in (self.subject, self.model)
        ]
        bare = [[msgspec.structs.replace(lease, epoch=0) for lease in leases] for leases in found]
        assert bare[0] == bare[1]
        for mine, other in zip(*found, strict=True):
            assert mine.call.id not in self.ended, "a call that has ended was lent"
            assert all(mine.epoch != epoch for name, epoch, _ in self.leases if name == mine.call.id) or self._forgot
            self.leases.append((mine.call.id, mine.epoch, other.epoch))

    _forgot = False
    """Whether a namespace was removed or a call purged: its id may then begin anew, with the epochs."""

    @rule(data=st.data(), outcome=_OUTCOMES)
    def settle(self, data: st.DataObject, outcome: Outcome) -> None:
        if not self.leases:
            return
        name, mine, other = data.draw(st.sampled_from(self.leases))
        answers = [
            self.run(_tried(queue.settle(name, epoch, outcome, now=self.now)))
            for queue, epoch in ((self.subject, mine), (self.model, other))
        ]
        assert answers[0] == answers[1]

    @rule(data=st.data(), outcome=_OUTCOMES)
    def make(self, data: st.DataObject, outcome: Outcome) -> None:
        """A whole attempt, which random steps alone seldom come to."""
        before = len(self.leases)
        self._lease(data.draw(self._refs()), 1, 60.0)
        for name, mine, other in self.leases[before:]:
            self.run(self.subject.settle(name, mine, outcome, now=self.now))
            self.run(self.model.settle(name, other, outcome, now=self.now))

    @rule(back=st.sampled_from([0.0, 20.0, 60.0]))
    def put_the_clock_back(self, back: float) -> None:
        before, self.now = self.now, self.now - back
        self.both(lambda queue: queue.pull_in(before=before, now=self.now))

    @rule(length=st.sampled_from([0.0, 90.0]))
    def extend(self, length: float) -> None:
        until = self.now + length
        mine = self.run(self.subject.extend([(name, epoch) for name, epoch, _ in self.leases], until=until))
        assert mine == self.run(self.model.extend([(name, epoch) for name, _, epoch in self.leases], until=until))

    @rule(namespace=_SPACES, data=st.data())
    def cancel(self, namespace: Any, data: st.DataObject) -> None:
        name = data.draw(self._names())
        self.both(lambda queue: _bare(queue.cancel(namespace, name, now=self.now, reason="asked")))

    @rule(namespace=_SPACES, names=st.lists(_IDS, max_size=3), function=st.sampled_from(["", "f", "g"]))
    def redrive(self, namespace: Any, names: list[str], function: str) -> None:
        before = self._dead(namespace)
        self.both(lambda queue: queue.redrive(namespace, calls=names, function=function, now=self.now))
        for name in before - self._dead(namespace):
            self.ended.pop(name, None)

    @rule(namespace=_SPACES, names=st.lists(_IDS, max_size=3))
    def purge(self, namespace: Any, names: list[str]) -> None:
        before = self._dead(namespace)
        self.both(lambda queue: queue.purge(namespace, calls=names))
        self._forget(before - self._dead(namespace))

    @rule(ref=_REFS)
    def remove_function(self, ref: Any) -> None:
        self.both(lambda queue: queue.cancel_function(ref, reason="removed", now=self.now))

    @rule(namespace=_SPACES, chance=st.integers(0, 5))
    def remove_namespace(self, namespace: Any, chance: int) -> None:
        if chance:
            return
        before = {record.id for record in self.run(self.model.list_calls(namespace, limit=99))}
        self.both(lambda queue: queue.forget_namespace(namespace))
        self._forget(before)

    @rule(seconds=st.sampled_from([0.5, 40.0, 50_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        before = self._all()
        self.both(lambda queue: queue.expire(now=self.now))
        self._forget(before - self._all())

    @rule(namespace=_SPACES, data=st.data())
    def look(self, namespace: Any, data: st.DataObject) -> None:
        name = data.draw(self._names())
        self.both(lambda queue: _bare(queue.look_up(namespace, name, now=self.now)))
        self.both(lambda queue: queue.body(namespace, name))

    @rule()
    def reopen(self) -> None:
        """The process ends and comes back, with all that was promised."""
        self.run(self.close())
        self.subject = self.run(self.open())
        if self.gives_back:
            self.model.give_back()

    @invariant()
    def counts_add_up(self) -> None:
        found = [{counts.ref: counts for counts in self.run(queue.counts())} for queue in (self.subject, self.model)]
        assert found[0] == found[1]
        for counts in found[0].values():
            assert counts.accepted == counts.queued + counts.running + counts.finished + counts.dead + counts.forgotten

    @invariant()
    def marks_are_the_same(self) -> None:
        assert self.run(self.subject.marks()) == self.run(self.model.marks())

    @invariant()
    def an_end_is_an_end(self) -> None:
        records = self._records(self.subject)
        kept = [msgspec.structs.replace(record, number=0) for record in records]
        assert kept == [msgspec.structs.replace(record, number=0) for record in self._records(self.model)]
        for record in records:
            if record.id in self.ended:
                assert record.state is self.ended[record.id]
            elif record.state not in OPEN:
                self.ended[record.id] = record.state

    def teardown(self) -> None:
        self.run(self.close())
        self.loop.close()

    def _records(self, queue: FullQueue) -> list[Any]:
        return [record for space in (HERE, THERE) for record in self.run(queue.list_calls(space, limit=99))]

    def _refs(self) -> st.SearchStrategy[Any]:
        """Functions with work, if there are any."""
        return st.sampled_from([counts.ref for counts in self.run(self.model.counts()) if counts.queued] or [F])

    def _names(self) -> st.SearchStrategy[str]:
        """Ids that are known, and one that is not."""
        return st.sampled_from(["never", *sorted(self._all())])

    def _all(self) -> set[str]:
        return {record.id for record in self._records(self.model)}

    def _dead(self, namespace: Any) -> set[str]:
        found = self.run(self.model.list_calls(namespace, state=CallState.DEAD, limit=99))
        return {record.id for record in found}

    def _forget(self, names: set[str]) -> None:
        self._forgot = self._forgot or bool(names)
        for name in names:
            self.ended.pop(name, None)
        self.leases = [lease for lease in self.leases if lease[0] not in names]


async def _tried(work: Awaitable[Any]) -> Any:
    """What came, or which error."""
    try:
        return await work
    except HilbertError as exc:
        return type(exc)


async def _all_tried(works: Sequence[Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*map(_tried, works)))


async def _bare(work: Awaitable[Any]) -> Any:
    """A record without its number, which need not be equal: puts that failed may have used some up."""
    return msgspec.structs.replace(await work, number=0)
