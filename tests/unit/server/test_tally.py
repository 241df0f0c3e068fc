"""The file of counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.dataplane.feed.messages import Levels, RouteLevels
from hilbert.dataplane.feed.totals import Totals
from hilbert.server.tally import Tally

FUNCTION = RouteLevels("ns", "f", born=1, started=3, inflight=0, waiting=0, cold_starts=0, retries=0, codes={})


def counted() -> Totals:
    totals = Totals()
    totals.update("one", "0", Levels(epoch="e", routes=[], drift=0, version=1, size=1, connections=0), [FUNCTION])
    return totals


def started(totals: Totals) -> int:
    return sum(calls.started for calls in totals.functions().values())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """For its owner's eyes alone."""
    Tally(counted(), tmp_path / "counters").save()
    assert (tmp_path / "counters").stat().st_mode & 0o777 == 0o600
    totals = Totals()
    Tally(totals, tmp_path / "counters").load()
    assert started(totals) == 3


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff", b"\x92\x90"])
def test_no_good_file_is_no_obstacle(content: bytes | None, tmp_path: Path) -> None:
    """The counts begin anew."""
    if content is not None:
        (tmp_path / "counters").write_bytes(content)
    totals = Totals()
    Tally(totals, tmp_path / "counters").load()
    assert started(totals) == 0


def test_nothing_is_written_when_nothing_has_changed(tmp_path: Path) -> None:
    """And a folder that cannot be written to is no obstacle."""
    totals = counted()
    tally = Tally(totals, tmp_path / "counters")
    tally.save()
    (tmp_path / "counters").unlink()
    tally.save()
    assert not (tmp_path / "counters").exists()
    Tally(counted(), tmp_path / "absent" / "counters").save()
