"""Limits on calls as a client meets them: status, headers, body, and what is not counted against whom."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hilbert.core.limits import CallLimits, ScopeShare
from support.dataplane import Call, Plane, until

ONE_A_MINUTE = CallLimits(1 / 60, 1)


@pytest.mark.bound("call-rate")
def test_a_rate_is_held_and_the_answer_says_what_to_do(plane: Plane) -> None:
    plane.put("slow", plane.replica().endpoint, namespace="dev", namespace_limits=CallLimits(0.5, 2))
    answers = [plane.call("/function/slow.dev", b"x") for _ in range(20)]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(refused) >= 15
    answer = refused[-1]
    assert answer.status == 429
    assert 1 <= int(answer.get("retry-after")) <= 60
    assert answer.get("ratelimit").startswith(b'"namespace-rate";r=0;t=')
    assert answer.get("ratelimit-policy") == b'"namespace-rate";q=2;w=4'
    assert answer.get("x-hilbert-error") == b"limit-reached"
    assert answer.get("x-call-id")
    text = answer.body.decode()
    assert "namespace dev has reached its limit of 0.5 calls a second" in text
    assert "an administrator can raise its annotation com.hilbert.limits.rate" in text
    told = plane.call("/function/slow.dev", b"x", headers="Accept: application/json")
    assert json.loads(told.body)["error"]["code"] == "limit-reached"


def test_one_namespace_pays_for_itself_alone(plane: Plane) -> None:
    plane.put("a", plane.replica().endpoint, namespace="greedy", namespace_limits=ONE_A_MINUTE)
    plane.put("b", plane.replica().endpoint, namespace="greedy", namespace_limits=ONE_A_MINUTE)
    plane.put("a", plane.replica().endpoint, namespace="other")
    for _ in range(10):
        plane.call("/function/a.greedy")
    assert plane.call("/function/b.greedy").status == 429
    assert {plane.call("/function/a.other").status for _ in range(20)} == {200}


@pytest.mark.bound("call-concurrency")
def test_calls_at_once_are_counted_until_they_end_in_any_way(plane: Plane) -> None:
    opened, inside = threading.Event(), threading.Semaphore(0)

    def held(call: Call) -> None:
        inside.release()
        assert opened.wait(20)
        call.answer(b"done")

    workers = len(plane.workers)
    limits = CallLimits(0.0, 0, workers)  # One in each worker.
    plane.put("busy", plane.replica(held).endpoint, limits=limits)
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(plane.call, "/function/busy") for _ in range(16)]
        until(lambda: sum(call.done() for call in calls) >= 16 - workers, what="the calls beyond the limit")
        statuses = {call.result().status for call in calls if call.done()}
        assert statuses == {429}
        opened.set()
        assert sorted(call.result().status for call in calls)[:1] == [200]
    until(lambda: plane.call("/function/busy").status == 200, what="room again")


def test_limits_go_and_come_with_the_route(plane: Plane) -> None:
    endpoint = plane.replica().endpoint
    plane.put("f", endpoint, limits=ONE_A_MINUTE)
    assert {plane.call("/function/f").status for _ in range(10)} >= {429}
    plane.put("f", endpoint)
    assert {plane.call("/function/f").status for _ in range(10)} == {200}
    plane.put("f", endpoint, limits=ONE_A_MINUTE)
    assert 429 in {plane.call("/function/f").status for _ in range(10)}


def test_workers_say_what_they_are_asked_and_take_their_parts(plane: Plane) -> None:
    told: dict[str, int] = {}

    def used(worker: str, uses: object) -> None:
        for use in uses:  # type: ignore[attr-defined]
            told[worker] = use.asked

    plane.run(lambda: setattr(plane.feed, "on_use", used))
    plane.put("f", plane.replica().endpoint, namespace="told", namespace_limits=ONE_A_MINUTE)
    for _ in range(8):
        plane.call("/function/f.told")
    until(lambda: sum(told.values()) == 8, what="the workers' reports")

    def share() -> None:
        for worker in plane.feed.enforcing():
            plane.feed.share(worker, [ScopeShare(("told", ""), 1000.0)])

    plane.run(share)
    until(lambda: plane.call("/function/f.told").status == 200, what="the new part")
    began = time.monotonic()
    assert {plane.call("/function/f.told").status for _ in range(5)} <= {200, 429}
    assert time.monotonic() - began < 60


def test_refused_calls_are_counted_as_such(plane: Plane) -> None:
    plane.put("counted", plane.replica().endpoint, limits=ONE_A_MINUTE)
    statuses = [plane.call("/function/counted").status for _ in range(10)]

    def codes() -> dict[int, int]:
        return {
            code: one.count
            for ref, calls in plane.totals.functions().items()
            if ref.name == "counted"
            for code, one in calls.codes.items()
        }

    until(lambda: codes() == {code: statuses.count(code) for code in set(statuses)}, what="the counts")


@pytest.mark.bound("held-calls")
def test_calls_that_wait_are_counted_against_their_namespace(plane: Plane) -> None:
    """Those beyond are refused at once, the others go on when a replica comes; another namespace notices nothing."""
    workers = len(plane.workers)
    plane.put("cold", namespace="held", namespace_limits=CallLimits(held=workers))  # One in each worker.
    plane.put("cold", namespace="free")
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(plane.call, "/function/cold.held", b"x") for _ in range(16)]
        until(lambda: sum(call.done() for call in calls) >= 16 - workers, what="the calls beyond the limit")
        refused = next(call.result() for call in calls if call.done())
        assert refused.status == 429
        assert b"namespace held has reached its limit of" in refused.body
        assert b"com.hilbert.limits.held" in refused.body
        free = [pool.submit(plane.call, "/function/cold.free", b"x") for _ in range(8)]
        until(lambda: plane.waiting("cold") >= 8, what="the other namespace's calls")
        plane.put("cold", plane.replica().endpoint, namespace="held", namespace_limits=CallLimits(held=workers))
        plane.put("cold", plane.replica().endpoint, namespace="free")
        assert {call.result().status for call in free} == {200}
        statuses = sorted(call.result().status for call in calls)
    assert statuses[0] == 200
    assert set(statuses) == {200, 429}


@pytest.mark.bound("held-bytes")
def test_bodies_of_calls_that_wait_are_counted(plane: Plane) -> None:
    limits = CallLimits(held_bytes=len(plane.workers) * 1000)
    plane.put("cold", namespace="heavy", namespace_limits=limits)
    answer = plane.call("/function/cold.heavy", b"x" * 1001)
    assert answer.status == 429
    assert b"bytes of calls that wait for a replica" in answer.body
    with ThreadPoolExecutor(1) as pool:
        small = pool.submit(plane.call, "/function/cold.heavy", b"x" * 10)
        until(lambda: plane.waiting("cold") >= 1, what="the small one to wait")
        plane.put("cold", plane.replica().endpoint, namespace="heavy", namespace_limits=limits)
        assert small.result().status == 200


@pytest.mark.bound("open-connections")
def test_upgraded_connections_are_counted_until_they_close(plane: Plane) -> None:
    def hold(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        call.wire.rest()

    limits = CallLimits(connections=len(plane.workers))
    plane.put("chat", plane.replica(hold).endpoint, namespace="talk", namespace_limits=limits)
    lines = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
    request = f"GET /function/chat.talk HTTP/1.1\r\n{lines}".encode()
    wires, statuses = [], []
    for _ in range(16):
        wires.append(plane.connect())
        wires[-1].send(request)
        statuses.append(wires[-1].head().status)
    assert set(statuses) == {101, 429}
    assert statuses.count(101) <= len(plane.workers)
    for wire in wires:
        wire.close()

    def opens() -> bool:
        with plane.connect() as wire:
            wire.send(request)
            return bool(wire.head().status == 101)

    until(opens, what="room again")
