"""One timer for the time limits of all calls that have the same."""

from __future__ import annotations

import random

from hilbert.watchdog.clock import Clock
from support.transports import ManualLoop


class Counted:
    """A call that notes when its time was over."""

    def __init__(self, loop: ManualLoop) -> None:
        self._loop = loop
        self.ended: list[float] = []

    def expire(self) -> None:
        self.ended.append(self._loop.now)


def test_each_ends_when_its_own_time_is_over() -> None:
    """Whatever has begun before or after it, has been stopped, or has begun anew."""
    loop = ManualLoop()
    clock = Clock(loop, 10.0)  # type: ignore[arg-type]  # what it uses of a loop
    calls = [Counted(loop) for _ in range(4)]
    for call in calls:
        clock.start(call)
        loop.advance(1.0)  # They end at 1010 to 1013.
    clock.stop(calls[1])
    clock.stop(calls[1])
    clock.start(calls[2])  # Now at 1004.
    loop.advance(100.0)
    assert [call.ended for call in calls] == [[1010.0], [], [1014.0], [1013.0]]
    clock.start(calls[0])
    loop.advance(9.5)
    assert calls[0].ended == [1010.0]
    loop.advance(1.0)
    assert calls[0].ended == [1010.0, 1114.0]


def test_one_that_is_stopped_as_another_ends_does_not() -> None:
    loop = ManualLoop()
    clock = Clock(loop, 10.0)  # type: ignore[arg-type]  # what it uses of a loop
    other = Counted(loop)

    class Stops(Counted):
        def expire(self) -> None:
            super().expire()
            clock.stop(other)

    clock.start(Stops(loop))
    clock.start(other)
    loop.advance(20.0)
    assert other.ended == []


def test_none_is_early_or_late() -> None:
    """With many calls that come, go and begin anew."""
    loop, chance = ManualLoop(), random.Random(7)
    clock = Clock(loop, 3.0)  # type: ignore[arg-type]  # what it uses of a loop
    due: dict[Counted, float] = {}
    calls = [Counted(loop) for _ in range(50)]
    for _ in range(3000):
        call = chance.choice(calls)
        if chance.random() < 0.5:
            clock.start(call)
            due[call] = loop.now + 3.0
        else:
            clock.stop(call)
            due.pop(call, None)
        loop.advance(chance.random() * 0.1)
        for one in [one for one, when in due.items() if when <= loop.now]:
            assert abs(one.ended[-1] - due.pop(one)) < 1e-9
    assert not [one for one in due if one.ended and one.ended[-1] > due[one] - 3.0]
