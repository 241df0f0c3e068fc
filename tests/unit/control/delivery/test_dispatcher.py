"""Delivery, from the queue to every end that a call can have, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from hilbert.control.delivery.calling import GatewayAway, GatewayCalls, Unreached
from hilbert.control.delivery.dispatcher import DeliverySettings, Dispatcher
from hilbert.control.delivery.request import QueuedAnswer, QueuedRequest
from hilbert.control.delivery.retries import RetryPolicy
from hilbert.core.errors import BackendUnavailable, FunctionNotFound, HilbertError
from hilbert.core.ports.queue import CallRecord, CallState, Lease, QueuedCall
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import ManualClock
from hilbert.kit.http1 import Pool, TimerWheel
from hilbert.queues.memory import MemoryQueue
from hilbert.testing.leader import ManualLeader

pytestmark = pytest.mark.anyio

F = FunctionRef.parse("f.here")
SETTINGS = DeliverySettings(
    slots=4, namespace_slots=3, function_slots=3, lease=30.0, retry=RetryPolicy(attempts=3, min_wait=10, jitter=0)
)
Answers = Callable[[Lease, QueuedRequest], QueuedAnswer | Exception | None]


def ok(_lease: Lease, _request: QueuedRequest) -> QueuedAnswer:
    return QueuedAnswer(200, (), b"fine")


class FakeCalls:
    """Answers at once with what it is told; None: waits until `release`."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.begun: list[str] = []
        self.running: Counter[str] = Counter()
        self.most = 0
        self.broken_off: list[str] = []
        self.gate = asyncio.Event()

    async def call(self, lease: Lease, request: QueuedRequest, *, attempts: int) -> QueuedAnswer:
        del attempts
        name = str(lease.call.ref)
        self.begun.append(lease.call.id)
        self.running[name] += 1
        self.most = max(self.most, self.running.total())
        try:
            answer = self.answers(lease, request)
            if answer is None:
                await self.gate.wait()
                answer = QueuedAnswer(200, (), b"late")
            if isinstance(answer, Exception):
                raise answer
            return answer
        except asyncio.CancelledError:
            self.broken_off.append(lease.call.id)
            raise
        finally:
            self.running[name] -= 1


class FakeCallBacks:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.works = True

    async def tell(self, lease: Lease, request: QueuedRequest, answer: Any, *, took: float, attempts: int) -> bool:
        del took, request
        await self.gate.wait()
        self.told.append((lease.call.id, answer.status if answer else 0, attempts))
        return self.works


class Bench:
    def __init__(self, answers: Answers) -> None:
        self.clock = ManualClock(1000.0)
        self.ahead = 0.0
        """Seconds by which the clock of the day was set."""
        self.queue = MemoryQueue()
        self.calls = FakeCalls(answers)
        self.backs = FakeCallBacks()
        self.leader = ManualLeader(leads=True)
        self.functions: dict[FunctionRef, Mapping[str, str]] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.failing: HilbertError | None = None
        self.dispatcher = self.another()

    def another(self) -> Dispatcher:
        return Dispatcher(
            self.queue,
            self.calls,
            annotations=self._annotations,
            leader=self.leader,
            callbacks=self.backs,
            settings=SETTINGS,
            clock=self.clock,
            wall=lambda: self.clock.now() + self.ahead,
            draw=lambda: 0.0,
        )

    async def _annotations(self, ref: FunctionRef) -> tuple[Mapping[str, str], Mapping[str, str]]:
        if self.failing is not None:
            raise self.failing
        return self.functions.get(ref, {}), self.namespaces.get(ref.namespace, {})

    async def put(self, *names: str, ref: FunctionRef = F, callback: str = "", due: float = 0.0) -> None:
        request = QueuedRequest("POST", b"/", (), b"body", callback)
        calls = [QueuedCall(id=name, ref=ref, due=due, body=request.dump()) for name in names]
        await self.queue.put(calls, now=self.clock.now())
        self.dispatcher.poke(0.0)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Time goes on in small steps, as tasks set new timers."""
        for _ in range(int(seconds * 2)):
            await self.clock.advance(0.5)
            await self.settle()

    async def record(self, name: str) -> CallRecord:
        return await self.queue.look_up(NamespaceName("here"), name, now=self.clock.now())


@contextlib.asynccontextmanager
async def bench(answers: Answers = ok, *, start: bool = True) -> AsyncIterator[Bench]:
    at = Bench(answers)
    if start:
        at.dispatcher.start()
    try:
        yield at
    finally:
        at.calls.gate.set()
        await at.dispatcher.stop()


async def test_a_call_is_made_and_ends() -> None:
    async with bench() as at:
        await at.put("a")
        record = await at.record("a")
        assert (record.state, record.attempts, record.answer) == (CallState.SUCCEEDED, 1, b"")
        assert at.calls.begun == ["a"]
        assert at.dispatcher.outcomes.totals == {"succeeded": 1}


async def test_an_answer_is_kept_where_the_function_says_so() -> None:
    async with bench() as at:
        at.functions[F] = {"com.hilbert.async.results": "1m"}
        await at.put("a")
        assert QueuedAnswer.load((await at.record("a")).answer) == QueuedAnswer(200, (), b"fine")
        await at.wait(60)
        assert (await at.record("a")).answer == b""


async def test_a_call_waits_until_it_is_due() -> None:
    async with bench() as at:
        await at.put("a", due=1020.0)
        await at.wait(19)
        assert at.calls.begun == []
        await at.wait(2)
        assert at.calls.begun == ["a"]


async def test_errors_are_tried_again_and_then_given_up() -> None:
    async with bench(lambda *_: QueuedAnswer(500, (), b"oh")) as at:
        await at.put("a", callback="http://x")
        assert ((await at.record("a")).state, at.backs.told) == (CallState.QUEUED, [])
        await at.wait(11)
        assert len(at.calls.begun) == 2
        await at.wait(21)
        record = await at.record("a")
        assert (record.state, len(at.calls.begun)) == (CallState.DEAD, 3)
        assert "given up after 3 attempts" in record.reason
        assert QueuedAnswer.load(record.answer).body == b"oh"
        assert at.backs.told == [("a", 500, 3)]


async def test_no_answer_is_tried_again() -> None:
    answers: list[QueuedAnswer | Exception] = [Unreached("away"), QueuedAnswer(200, (), b"")]
    async with bench(lambda *_: answers.pop(0)) as at:
        await at.put("a")
        await at.wait(11)
        assert (await at.record("a")).state is CallState.SUCCEEDED


async def test_a_last_answer_that_is_an_error_ends_the_call() -> None:
    async with bench(lambda *_: QueuedAnswer(404, (), b"")) as at:
        await at.put("a", callback="http://x")
        assert (await at.record("a")).state is CallState.FAILED
        assert at.backs.told == [("a", 404, 3)]


async def test_bounds_on_calls_at_once() -> None:
    async with bench(lambda *_: None) as at:
        await at.put(*(f"f{n}" for n in range(9)))
        await at.put(*(f"g{n}" for n in range(9)), ref=FunctionRef.parse("g.here"))
        assert at.calls.running.total() == 3, "of one namespace"
        await at.put(*(f"x{n}" for n in range(9)), ref=FunctionRef.parse("x.there"))
        assert at.calls.running.total() == 4, "in all"
        at.calls.gate.set()
        await at.wait(3)
        assert len(at.calls.begun) == 27
        assert at.calls.most <= 4


async def test_a_flood_of_one_tenant_does_not_hold_up_another() -> None:
    async with bench(lambda lease, _: None if lease.call.ref == F else ok(lease, _)) as at:
        await at.put(*(f"noisy{n}" for n in range(200)))
        await at.put("quiet", ref=FunctionRef.parse("f.there"))
        record = await at.queue.look_up(NamespaceName("there"), "quiet", now=0)
        assert record.state is CallState.SUCCEEDED


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_holds_no_call_up_and_makes_none_twice(by: float) -> None:
    """Two calls run, and one waits for its next attempt."""
    async with bench(lambda lease, _: QueuedAnswer(500, (), b"") if lease.call.id == "again" else None) as at:
        await at.put("again")
        await at.put("a", "b")
        at.ahead = by
        await at.put("c", due=at.clock.now() + by)
        assert (at.calls.begun.count("a"), at.calls.begun.count("b"), at.calls.broken_off) == (1, 1, [])
        at.calls.gate.set()
        await at.wait(12)
        assert at.calls.begun.count("again") == 2, "its wait was ten seconds"
        await at.wait(40)
        assert [(await at.record(name)).state for name in ("a", "b", "c")] == [CallState.SUCCEEDED] * 3
        assert sorted(at.calls.begun) == ["a", "again", "again", "again", "b", "c"]


async def test_a_long_call_keeps_its_lease() -> None:
    async with bench(lambda *_: None) as at:
        await at.put("a")
        await at.wait(200)
        at.calls.gate.set()
        await at.settle()
        assert at.calls.begun == ["a"]
        assert (await at.record("a")).state is CallState.SUCCEEDED


async def test_a_cancelled_call_is_broken_off() -> None:
    async with bench(lambda *_: None) as at:
        await at.put("here", "elsewhere")
        for name in ("here", "elsewhere"):
            await at.queue.cancel(NamespaceName("here"), name, now=1001)
        at.dispatcher.break_off("here")
        at.dispatcher.break_off("never")
        await at.settle()
        assert at.calls.broken_off == ["here"]
        await at.wait(11)
        assert at.calls.broken_off == ["here", "elsewhere"], "another gateway was told: the heartbeat finds out"
        assert (await at.record("here")).state is CallState.CANCELLED


async def test_stopping_gives_calls_back_with_their_attempt_counted() -> None:
    async with bench(lambda *_: None) as at:
        await at.put("a")
        await at.dispatcher.stop()
        record = await at.record("a")
        assert (record.state, record.attempts) == (CallState.QUEUED, 1)
        second = at.another()
        second.start()
        at.calls.gate.set()
        await at.settle()
        await second.stop()
        assert ((await at.record("a")).state, at.calls.begun) == (CallState.SUCCEEDED, ["a", "a"])


async def test_attempts_of_processes_that_died_count() -> None:
    async with bench(start=False) as at:
        await at.put("a")
        for _ in range(3):
            await at.queue.lease(F, count=1, now=at.clock.now(), until=at.clock.now() + 5)
            await at.clock.advance(5)
        at.dispatcher.start()
        await at.settle()
        record = await at.record("a")
        assert (record.state, at.calls.begun) == (CallState.DEAD, [])
        assert "the last one did not end" in record.reason


async def test_two_gateways_make_each_call_once() -> None:
    async with bench(lambda *_: None) as at:
        second = at.another()
        second.start()
        await at.put(*(f"{n}" for n in range(6)))
        at.calls.gate.set()
        await at.wait(3)
        await second.stop()
        assert sorted(at.calls.begun) == [f"{n}" for n in range(6)]


async def test_nothing_is_made_without_the_lead() -> None:
    async with bench(start=False) as at:
        at.leader.take()
        at.dispatcher.start()
        await at.put("a")
        await at.wait(5)
        assert at.calls.begun == []
        at.leader.give()
        await at.wait(2)
        assert at.calls.begun == ["a"]


async def test_a_call_back_takes_up_no_slot() -> None:
    async with bench() as at:
        at.backs.gate.clear()
        await at.put(*(f"{n}" for n in range(12)), callback="http://x")
        await at.wait(3)
        assert len(at.calls.begun) == 12
        assert (await at.record("0")).state is CallState.RUNNING, "it has not ended before it was told"
        at.backs.works = False
        at.backs.gate.set()
        await at.settle()
        assert (await at.record("0")).state is CallState.SUCCEEDED
        assert at.dispatcher.outcomes.totals == {"succeeded": 12, "callback-failed": 12}


async def test_calls_of_a_removed_function_are_cancelled() -> None:
    async with bench() as at:
        at.failing = FunctionNotFound("gone")
        await at.put("a")
        record = await at.record("a")
        assert (record.state, record.reason, at.calls.begun) == (CallState.CANCELLED, "the function was removed", [])


async def test_a_provider_that_is_away_costs_no_attempt() -> None:
    async with bench() as at:
        at.failing = BackendUnavailable("away")
        await at.put("a")
        await at.wait(25)
        at.failing = None
        await at.wait(11)
        record = await at.record("a")
        assert (record.state, record.attempts) == (CallState.SUCCEEDED, 1)


async def test_a_gateway_that_is_away_costs_no_attempt() -> None:
    answers: list[QueuedAnswer | Exception] = [GatewayAway("away")] * 9 + [QueuedAnswer(200, (), b"")]
    async with bench(lambda *_: answers.pop(0)) as at:
        await at.put("a")
        await at.wait(12)
        record = await at.record("a")
        assert (record.state, record.attempts) == (CallState.SUCCEEDED, 1)


async def test_a_request_that_cannot_be_read_is_given_up() -> None:
    async with bench() as at:
        await at.queue.put([QueuedCall(id="a", ref=F, due=0, body=b"\xc1")], now=1000)
        at.dispatcher.poke(0.0)
        await at.settle()
        assert (await at.record("a")).state is CallState.DEAD
        assert at.calls.begun == []


async def test_a_store_that_is_away_for_a_while_loses_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(lambda *_: None) as at:
        await at.put("a")
        settle, counts = at.queue.settle, at.queue.counts

        async def away(*_: object, **__: object) -> Any:
            raise BackendUnavailable("away")

        monkeypatch.setattr(at.queue, "settle", away)
        monkeypatch.setattr(at.queue, "counts", away)
        at.calls.gate.set()
        await at.wait(5)
        assert (await at.record("a")).state is CallState.RUNNING
        monkeypatch.setattr(at.queue, "settle", settle)
        monkeypatch.setattr(at.queue, "counts", counts)
        await at.wait(15)
        assert ((await at.record("a")).state, at.calls.begun) == (CallState.SUCCEEDED, ["a"])


async def test_overload_lowers_what_a_function_gets_at_once() -> None:
    async with bench(lambda *_: QueuedAnswer(429, (), b"")) as at:
        at.functions[F] = {"com.openfaas.retry.attempts": "100", "com.openfaas.retry.min_wait": "2s", "com.openfaas.retry.max_wait": "2s"}  # fmt: skip
        await at.put(*(f"{n}" for n in range(30)))
        await at.wait(30)
        at.calls.answers = lambda *_: None
        await at.wait(5)
        assert at.calls.running.total() == 1


async def served(reply: bytes) -> tuple[bytes, QueuedAnswer | Exception]:
    """What a gateway gets of a call, and what comes of its reply."""
    got = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"\r\n\r\n"))
        got.extend(await reader.readexactly(4))
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wheel = TimerWheel()
    pool = Pool(f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}", wheel)
    request = QueuedRequest("PUT", b"/a%2Fb?x=1", ((b"X-Own", b"\xe9"),), b"body", depth=2)
    lease = Lease(call=QueuedCall(id="id-1", ref=F, due=0, body=b""), epoch=1, attempt=1, put_at=0)
    try:
        answer = await GatewayCalls(pool).call(lease, request, attempts=3)
        return bytes(got), answer
    except Unreached as exc:
        return bytes(got), exc
    finally:
        server.close()
        pool.close()
        wheel.close()


async def test_a_call_through_the_gateway() -> None:
    got, answer = await served(
        b"HTTP/1.1 201 Created\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert answer == QueuedAnswer(201, ((b"X-A", b"1"), (b"Transfer-Encoding", b"chunked")), b"abc")
    assert got.split(b"\r\n") == [
        b"PUT /function/f.here/a%2Fb?x=1 HTTP/1.1",
        b"Host: gateway",
        b"Content-Length: 4",
        b"X-Call-Id: id-1",
        b"X-Hilbert-Depth: 2",
        b"X-Own: \xe9",
        b"",
        b"body",
    ]


@pytest.mark.bound("kept-answer")
async def test_of_a_long_answer_the_beginning_is_kept() -> None:
    _, answer = await served(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
    assert isinstance(answer, QueuedAnswer)
    assert (len(answer.body), answer.cut) == (256 * 1024, True)


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"])
async def test_an_answer_that_breaks_off_is_none(reply: bytes) -> None:
    assert isinstance((await served(reply))[1], Unreached)


async def test_annotations_bound_what_runs_at_once() -> None:
    """From the first call on, by which they become known."""
    async with bench(lambda *_: None) as at:
        at.functions[F] = {"com.hilbert.queue.concurrency": "1"}
        await at.put("a")
        await at.put("b", "c")
        assert at.calls.running.total() == 1
        at.calls.gate.set()
        await at.settle()
        assert len(at.calls.begun) == 3
    async with bench(lambda *_: None) as at:
        at.namespaces["here"] = {"com.hilbert.queue.concurrency": "2"}
        other = FunctionRef.parse("g.here")
        await at.put("a")
        await at.put("b", "c", ref=other)
        await at.put("d")
        assert at.calls.running.total() == 2


async def test_a_namespace_with_more_weight_gets_more_and_a_function_cannot_give_itself_any() -> None:
    turn: list[str] = []

    def slow(lease: Lease, _request: QueuedRequest) -> QueuedAnswer | None:
        turn.append(str(lease.call.ref.namespace))
        return None if len(turn) <= 4 else QueuedAnswer(200, (), b"")

    there = FunctionRef.parse("f.there")
    async with bench(slow) as at:
        at.namespaces["there"] = {"com.hilbert.queue.weight": "3"}
        at.functions[F] = {"com.hilbert.queue.weight": "100"}
        await at.put("a0")
        await at.put("b0", ref=there)
        assert at.dispatcher._weight(F) == 1.0
        assert at.dispatcher._weight(there) == 3.0
