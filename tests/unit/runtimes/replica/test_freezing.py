"""Freezing by control groups of version 2, on a folder that answers as the kernel does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.runtimes.replica import freezing
from hilbert.runtimes.replica.groups import thaw_groups
from hilbert.runtimes.replica.handle import ReplicaData


class Kernel:
    """Takes note of what is written to `cgroup.freeze` a moment later, as it does when a process waits for a disk."""

    def __init__(self, group: Path, *, holds: bool = True) -> None:
        self._group = group
        self._holds = holds
        self._over = threading.Event()
        group.mkdir(parents=True)
        (group / "cgroup.procs").touch()
        (group / "cgroup.freeze").write_text("0\n")
        self._say(frozen=False)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.002):
            with contextlib.suppress(OSError):
                self._say(frozen=self._holds and (self._group / "cgroup.freeze").read_text().strip() == "1")

    def _say(self, *, frozen: bool) -> None:
        (self._group / "new").write_text(f"populated 1\nfrozen {int(frozen)}\n")
        (self._group / "new").replace(self._group / "cgroup.events")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    kernel = Kernel(tmp_path / "tenant" / "replica")
    yield tmp_path / "tenant" / "replica"
    kernel.close()


def _frozen(group: Path) -> bool:
    return "frozen 1" in (group / "cgroup.events").read_text()


def test_it_is_frozen_only_once_the_kernel_says_that_it_is(group: Path) -> None:
    data = ReplicaData(groups=(str(group),))
    assert not freezing.is_frozen(data)
    freezing.freeze(data)
    assert _frozen(group), "whoever calls goes on only then"
    assert freezing.is_frozen(data)
    freezing.thaw(data)
    assert (group / "cgroup.freeze").read_text().strip() == "0"
    assert not freezing.is_frozen(data)


def test_one_that_cannot_be_held_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_FROZEN_WITHIN", 0.05)
    kernel = Kernel(tmp_path / "group", holds=False)
    data = ReplicaData(groups=(str(tmp_path / "group"),))
    with pytest.raises(TimeoutError, match="could not be frozen"):
        freezing.freeze(data)
    kernel.close()
    assert (tmp_path / "group" / "cgroup.freeze").read_text().strip() == "0"
    assert not freezing.is_frozen(data)


def test_the_first_group_that_can_is_asked_and_no_signal_is_sent(group: Path, tmp_path: Path) -> None:
    """Where a replica has other groups beside it, as those that only count."""
    (tmp_path / "other").mkdir()
    data = ReplicaData(groups=(str(tmp_path / "other"), str(group)), pid=2**30)
    freezing.freeze(data)
    assert freezing.is_frozen(data)
    freezing.thaw(data)
    assert not freezing.is_frozen(data)


def test_a_group_that_is_gone_is_not_frozen_and_thawing_it_is_success(tmp_path: Path) -> None:
    data = ReplicaData(groups=(str(tmp_path / "gone"),))
    assert not freezing.is_frozen(data)
    freezing.thaw(data)
    assert thaw_groups(data.groups) is False
    assert not (tmp_path / "gone").exists()
