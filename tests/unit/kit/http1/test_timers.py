"""The timer wheel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hilbert.kit.http1 import TimerWheel
from support.transports import ManualLoop


class Entry:
    def __init__(self, loop: ManualLoop) -> None:
        self.deadline = 0.0
        self.wheel_due = 0.0
        self.loop = loop
        self.struck: list[float] = []

    def on_deadline(self) -> None:
        self.struck.append(self.loop.now)


def make() -> tuple[ManualLoop, TimerWheel, Entry]:
    loop = ManualLoop()
    wheel = TimerWheel(tick=0.1, loop=loop)  # type: ignore[arg-type]  # what it uses of a loop
    return loop, wheel, Entry(loop)


def test_deadline_strikes_once_and_never_early() -> None:
    """At most a tick late, or two with rounding."""
    loop, wheel, entry = make()
    entry.deadline = loop.now + 1.0
    wheel.watch(entry)
    loop.advance(0.99)
    assert entry.struck == []
    loop.advance(5)
    assert len(entry.struck) == 1
    assert 1001.0 <= entry.struck[0] <= 1001.25


def test_deadline_that_moves_back_strikes_late() -> None:
    """Without being watched again."""
    loop, wheel, entry = make()
    entry.deadline = loop.now + 1.0
    wheel.watch(entry)
    loop.advance(0.9)
    entry.deadline = loop.now + 1.0
    loop.advance(0.95)
    assert entry.struck == []
    loop.advance(0.4)
    assert len(entry.struck) == 1


def test_deadline_that_moves_forward_strikes_early() -> None:
    """Once it is watched again."""
    loop, wheel, entry = make()
    entry.deadline = loop.now + 60.0
    wheel.watch(entry)
    entry.deadline = loop.now + 0.5
    wheel.watch(entry)
    loop.advance(0.8)
    assert len(entry.struck) == 1
    loop.advance(100)
    assert len(entry.struck) == 1


def test_forgotten_entry_is_held_no_longer() -> None:
    """Connections that come and go leave nothing behind."""
    loop, wheel, entry = make()
    for _ in range(3):
        entry.deadline = loop.now + 60.0
        wheel.watch(entry)
        wheel.forget(entry)
        assert not any(wheel._slots.values())
    loop.advance(100)
    assert entry.struck == []


@given(st.lists(st.tuples(st.floats(0, 3), st.one_of(st.none(), st.floats(0.01, 5))), max_size=30))
def test_every_deadline_strikes_in_time(moves: list[tuple[float, float | None]]) -> None:
    """Whatever is set, moved, cleared in between."""
    loop, wheel, entry = make()
    for pause, seconds in moves:
        before = len(entry.struck)
        due = entry.deadline
        loop.advance(pause)
        if due:
            assert (len(entry.struck) > before) == (due <= loop.now) or loop.now - due <= 0.25
            for at in entry.struck[before:]:
                assert at >= due
        else:
            assert len(entry.struck) == before
        entry.deadline = loop.now + seconds if seconds is not None else 0.0
        wheel.watch(entry)
