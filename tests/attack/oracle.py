"""The one oracle of all attacks on a shared worker: what must be true for everybody else, whatever the attack was.

- A victim's calls, made all the time over one connection, all get their own answers.
- Its slowest calls take no more than twice as long as on a worker that nobody attacks, called at the same time, and 10 ms
  (`waiting`). `victim.assert_nobody_waits` holds floods to the same for some seconds each.
- The worker's memory grows by less than `GROWS` over all cases of a module.
- The REST API answers after each case.
- No client's connection is left at the end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

import psutil

from attack.victim import MIB, Victim
from attack.waiting import judge
from support.dataplane import Plane, until
from support.replicas import Call

GROWS: Final = 96 * MIB
"""More than any one attack may have a worker hold: what an allocator keeps of several counts, too."""
_FEW: Final = 3
"""Calls that end during a case, however short it is: those under way when it began are among them."""
_SOURCE: Final = "127.0.0.9"
_PAUSE: Final = 0.01


class Pair:
    """A victim on `plane`, which is attacked, and one on `calm`, which is not, called at the same time until `stop`."""

    def __init__(self, plane: Plane, calm: Plane) -> None:
        self._victims = [Victim(one, _SOURCE, pause=_PAUSE) for one in (plane, calm)]
        self._done = threading.Event()
        self._threads = [threading.Thread(target=victim.run, args=(self._done,)) for victim in self._victims]
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """One case goes on inside. Raises `Waited`."""
        counts = [len(victim.took) for victim in self._victims]
        yield
        for victim, count in zip(self._victims, counts, strict=True):
            until(lambda victim=victim, count=count: len(victim.took) >= count + _FEW or victim.wrong, what="calls")  # type: ignore[misc]
        self.check()
        judge(*(victim.took[count:] for victim, count in zip(self._victims, counts, strict=True)))

    def check(self) -> None:
        """All calls so far got their own answers."""
        assert not self._victims[0].wrong, self._victims[0].wrong[:3]

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(30)


class Oracle:
    """Watches `plane`, which is attacked, beside `calm`, which is not. Closes both."""

    def __init__(self, plane: Plane, calm: Plane) -> None:
        self.plane = plane
        self._calm = calm
        plane.start_control(_api)
        self._pair = Pair(plane, calm)
        self._before = plane.memory()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """One case goes on inside. Raises `Waited`, if nothing else is wrong."""
        with self._pair.watching():
            yield
            self._pair.check()
            assert self.plane.memory() - self._before < GROWS
            until(lambda: self.plane.call("/system/info").body == b"the API", what="the API")

    def end(self) -> None:
        """All cases are over."""
        self._pair.stop()
        self._pair.check()
        until(lambda: not self._clients(), what="all connections of clients to be closed")

    def close(self) -> None:
        self._pair.stop()
        self.plane.close()
        self._calm.close()

    def _clients(self) -> int:
        port = self.plane.address[1]
        worker = psutil.Process(self.plane.workers[0].pid)
        return sum(bool(one.raddr) and one.laddr.port == port for one in worker.net_connections(kind="tcp"))


def _api(call: Call) -> None:
    call.answer(b"the API")
