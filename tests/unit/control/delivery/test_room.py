"""How much may be queued, from annotations; and how fast."""

from __future__ import annotations

import pytest

from hilbert.control.delivery.room import Rates, Room, check_namespace_room, room_of
from hilbert.core.errors import InvalidSpec, RateLimited
from hilbert.core.ports.queue import QueueBounds
from hilbert.core.values import FunctionRef

F, G = FunctionRef.parse("f.dev"), FunctionRef.parse("g.dev")
DEFAULT = QueueBounds(function_calls=100, function_bytes=1000, namespace_calls=500, namespace_bytes=5000)
Q = "com.hilbert.queue."


def said(**values: str) -> dict[str, str]:
    return {Q + key: text for key, text in values.items()}


@pytest.mark.parametrize(
    ("own", "below", "bounds"),
    [
        ({}, {}, (100, 1000, 500, 5000)),
        (said(calls="5", bytes="1Ki"), {}, (5, 1024, 500, 5000)),
        # A function can lower what its namespace has, and no more.
        (said(calls="999999", bytes="1Gi"), {}, (500, 5000, 500, 5000)),
        ({}, said(calls="50"), (50, 1000, 50, 5000)),
        ({}, said(calls="9000", bytes="1Mi"), (100, 1000, 9000, 1 << 20)),
        (said(calls="8000"), said(calls="9000"), (8000, 1000, 9000, 5000)),
        ({}, said(calls="0"), (0, 1000, 0, 5000)),
    ],
)
def test_bounds(own: dict[str, str], below: dict[str, str], bounds: tuple[int, ...]) -> None:
    room, wrong = room_of(own, below, DEFAULT)
    found = room.bounds
    assert (found.function_calls, found.function_bytes, found.namespace_calls, found.namespace_bytes) == bounds
    assert not wrong


def test_what_only_a_namespace_can_have() -> None:
    room, _ = room_of(said(weight="9", rate="5", concurrency="3"), said(rate="50", concurrency="30", weight="2.5"))
    assert (room.rate, room.namespace_rate) == (5, 50)
    assert (room.concurrency, room.namespace_concurrency) == (3, 30)
    assert room.weight == 2.5
    assert room_of(said(weight="9"), {})[0].weight == 1.0


@pytest.mark.parametrize(
    ("key", "text"),
    [("calls", "many"), ("calls", "-1"), ("bytes", "lots"), ("rate", "0"), ("rate", "nan"), ("rate", "inf"),
     ("rate", "1e9"), ("concurrency", "0"), ("weight", "0"), ("weight", "1000"), ("weight", "x" * 30)],
)  # fmt: skip
def test_what_is_wrong_has_no_effect_on_a_function_and_is_refused_on_a_namespace(key: str, text: str) -> None:
    room, wrong = room_of(said(**{key: text}), {}, DEFAULT)
    assert room == room_of({}, {}, DEFAULT)[0]
    assert len(wrong) == 1
    assert f"annotation {Q}{key}: " in wrong[0]
    with pytest.raises(InvalidSpec, match=Q + key):
        check_namespace_room(said(**{key: text}))


def test_a_rate_lets_ten_seconds_worth_come_together() -> None:
    rates, room = Rates(), Room(rate=2.0)
    for _ in range(21):
        rates.take(F, room, 1, 100.0)
    with pytest.raises(RateLimited, match=r"function f.dev may queue 2 calls a second") as caught:
        rates.take(F, room, 1, 100.0)
    assert caught.value.retry_after == 1.0
    rates.take(G, room, 1, 100.0)
    rates.take(F, room, 1, 101.0)
    for number in range(50):
        rates.take(F, room, 1, 200.0 + number / 2)


def test_a_namespaces_rate_is_shared_by_its_functions() -> None:
    rates, room = Rates(), Room(namespace_rate=1.0, rate=100.0)
    for number in range(11):
        rates.take(F if number % 2 else G, room, 1, 0.0)
    with pytest.raises(RateLimited, match="namespace dev"):
        rates.take(F, room, 1, 0.0)
    rates.take(FunctionRef.parse("f.other"), room, 1, 0.0)


def test_a_large_batch_is_let_in_and_then_waited_for() -> None:
    rates, room = Rates(), Room(rate=10.0)
    rates.take(F, room, 1000, 0.0)
    with pytest.raises(RateLimited) as caught:
        rates.take(F, room, 1, 0.0)
    assert caught.value.retry_after == 90.0
    rates.take(F, room, 1, 90.0)


def test_without_a_rate_nothing_is_remembered() -> None:
    rates = Rates()
    rates.take(F, Room(), 10**9, 0.0)
    assert rates._due == {}
