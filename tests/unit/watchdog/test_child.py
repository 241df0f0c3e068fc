"""Child processes."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from hilbert.watchdog.child import Child, find_program, spawn


def start(script: str) -> Child:
    with open(os.devnull, "r+b") as null:
        return spawn(
            "/bin/sh",
            ("sh", "-c", script),
            {b"PATH": b"/usr/bin:/bin"},
            stdin=null.fileno(),
            stdout=null.fileno(),
            stderr=2,
        )


def ended(child: Child) -> int:
    assert select.select([child.pidfd], [], [], 10)[0]
    status = child.reap()
    assert status is not None
    return status


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -15 $$", -15)])
def test_the_exit_status(script: str, status: int) -> None:
    """Positive for an exit, negative for a signal; asked again, the same."""
    child = start(script)
    assert ended(child) == status
    assert child.reap() == status


def test_a_running_child_has_no_status() -> None:
    """And is its own session's leader, until it is killed."""
    child = start("sleep 1000")
    assert child.reap() is None
    assert os.getsid(child.pid) == child.pid
    child.kill()
    assert ended(child) == -signal.SIGKILL
    child.kill()  # Nothing: the number may be somebody else's by now.


def test_nobody_is_left_behind() -> None:
    """The group of an ended leader is killed with it."""
    read, write = os.pipe()
    with open(os.devnull, "r+b") as null:
        child = spawn(
            "/bin/sh", ("sh", "-c", "sleep 1000 & exit 0"), os.environb, stdin=null.fileno(), stdout=write, stderr=2
        )
    os.close(write)
    assert ended(child) == 0
    assert os.read(read, 1) == b"", "the grandchild still holds the pipe"
    os.close(read)


def test_programs_are_found_as_a_shell_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the path; executable files alone; with a slash as they are written."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "two" / "tool").chmod(0o755)
    search = f"{tmp_path}/none:{tmp_path}/one::{tmp_path}/two"
    assert find_program("tool", search) == f"{tmp_path}/two/tool"
    monkeypatch.chdir(tmp_path)
    assert find_program("two/tool", "") == f"{tmp_path}/two/tool"
    for name in ("one/tool", "two", "none", "./none", ""):
        with pytest.raises(FileNotFoundError):
            find_program(name, search)
