"""How long somebody else waits while an attack goes on: one rule for every case, and what makes a case count.

The slowest of a victim's calls, all but one in a hundred, take no more than twice as long as those of somebody whom nobody attacks,
called at the same time or right before and after, and 10 ms. This machine breaks that now and then by itself. So a case that
breaks it is repeated, all of it with a fresh comparison, and fails when each of `TRIES` repetitions breaks it as well: what an attack
does to others comes back with the attack, and what else goes on here does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from _pytest.runner import runtestprotocol

SLACK: Final = 0.010
"""Seconds."""
TRIES: Final = 6

_waited: Final = pytest.StashKey[bool]()


class Waited(AssertionError):
    """A victim's calls took longer than they may, this time."""


def slowest(took: Sequence[float]) -> float:
    """Of all calls but one in a hundred."""
    return sorted(took)[-1 - len(took) // 100]


def judge(attacked: Sequence[float], calm: Sequence[float]) -> None:
    """Raises `Waited`. Seconds of each call."""
    one, other = slowest(attacked), slowest(calm)
    if one > 2 * other + SLACK:
        raise Waited(f"a victim waited {one:.3f} s in one of {len(attacked)} calls; without an attack, {other:.3f} s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    if call.excinfo is not None and call.excinfo.errisinstance(Waited):
        item.stash[_waited] = True
    return (yield)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a case, and run it again while nothing is wrong with it but that somebody waited."""
    if not isinstance(item, pytest.Function) or "/attack/" not in str(item.path):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in range(TRIES, -1, -1):
        item.stash[_waited] = False
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        wrong = [report for report in reports if report.failed]
        if not left or not (item.stash[_waited] and len(wrong) == 1):
            break
        item._initrequest()
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
