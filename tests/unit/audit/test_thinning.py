"""Strangers cannot fill the audit log: their refusals are counted beyond a bound, and nothing is lost silently."""

from __future__ import annotations

import pytest

from hilbert.audit import thinning
from hilbert.audit.auditor import Auditor
from hilbert.audit.record import MAX_TEXT, Actor, Decision, Record, clean, new_id
from support.api import Recorded


@pytest.mark.bound("audit-refusals")
def test_some_are_written_and_the_rest_counted() -> None:
    found = thinning.Thinning()
    told = [found.admit("a", 0.0, stranger=False) for _ in range(thinning.BURST + 5)]
    assert told == [0] * thinning.BURST + [None] * 5
    assert found.admit("b", 0.0, stranger=False) == 0
    assert found.admit("a", thinning.EVERY, stranger=False) == 5
    assert found.drain() == []


@pytest.mark.bound("audit-strangers")
def test_strangers_together_are_bounded_and_do_not_bound_others() -> None:
    found = thinning.Thinning()
    told = [found.admit(f"source {n}", 0.0, stranger=True) for n in range(thinning.STRANGERS + 7)]
    assert told.count(None) == 7
    assert found.admit("token:1", 0.0, stranger=False) == 0
    assert sum(count for _, count in found.drain()) == 7


@pytest.mark.bound("audit-sources")
def test_what_was_counted_of_forgotten_sources_is_kept() -> None:
    found = thinning.Thinning()
    for _ in range(thinning.BURST + 3):
        found.admit("a", 0.0, stranger=False)
    for n in range(thinning.MOST_KEPT):
        found.admit(f"b{n}", 0.0, stranger=False)
    assert found.drain() == [("", 3)]


@pytest.mark.bound("audit-text")
def test_texts_are_cut() -> None:
    assert len(clean("x" * 1_000_000)) == MAX_TEXT


@pytest.mark.anyio
async def test_the_numbers_are_written_down() -> None:
    kept = Recorded()
    auditor = Auditor(kept, now=lambda: 0.0)
    for actor, source in ((Actor(), "192.0.2.1"), (Actor(sub="token:1"), "")):
        for _ in range(thinning.BURST + 9):
            await auditor.end(
                Record(
                    id=new_id(), time="", actor=actor, source_ip=source,
                    decision=Decision.REFUSED if actor.sub else Decision.UNAUTHENTICATED,
                )
            )  # fmt: skip
    assert len(kept.records) == 2 * thinning.BURST
    await auditor.flush()
    told = {(one.actor.sub, one.source_ip): one.suppressed for one in kept.records[2 * thinning.BURST :]}
    assert told == {("", "192.0.2.1"): 9, ("token:1", ""): 9}
    await auditor.flush()
    assert len(kept.records) == 2 * thinning.BURST + 2
