"""What is ended when a start is given up: that sandbox, and never anything else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hilbert.runtimes.oci.launch import Launching, kill_sandbox
from hilbert.runtimes.replica import proc

pytestmark = pytest.mark.anyio


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of killing."""
    found: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: found.append(pid))
    return found


@pytest.mark.parametrize("mark", ["", "r", "relative/path"])
def test_a_mark_that_many_processes_could_have_kills_nothing(killed: list[int], mark: str) -> None:
    with pytest.raises(ValueError, match="every process"):
        proc.kill_marked(mark)
    assert killed == []


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_what_everything_descends_from_is_not_killed(killed: list[int], pid: int) -> None:
    with pytest.raises(ValueError, match="everything descends"):
        proc.kill_tree(pid)
    assert killed == []


def test_nothing_was_started_so_nothing_is_killed(killed: list[int]) -> None:
    kill_sandbox(0, "")
    assert killed == []


async def test_a_spare_whose_start_is_given_up_is_killed_and_nothing_else(
    killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    launching = Launching(run_dir=Path("/nowhere"))
    asked = asyncio.Event()

    async def send(message: bytes, descriptors: Sequence[int]) -> None:
        asked.set()

    monkeypatch.setattr(launching, "_send", send)
    monkeypatch.setattr(proc, "descendants", lambda pid: [pid])
    here, there = socket.socketpair()
    with here, there:
        starting: asyncio.Task[Any] = asyncio.ensure_future(launching.spare(here.fileno()))
        await asked.wait()
        starting.cancel()
        await asyncio.sleep(0)
        ((_, answer),) = launching._asked.items()
        answer.set_result(4_000_000)
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert killed == [4_000_000]
