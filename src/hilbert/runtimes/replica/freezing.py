"""Stopping a replica's processes where they are, and letting them go on: by its control groups, or else by signals.

The kernel's freezer holds all processes of a group at once, and those that they were about to start. Signals reach one process
after the other, and their parents are told: where nothing better is there they do, and what is not held by them is no worse
off than before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hilbert.runtimes.replica.groups import FREEZE, FREEZER_STATE, descendants, keyed, thaw_groups
from hilbert.runtimes.replica.handle import ReplicaData

_FROZEN_WITHIN: Final = 1.0
"""Seconds for the kernel to hold all processes; it takes less than a millisecond, unless one waits for a disk."""
_LOOK_EVERY: Final = 0.0005
_PASSES: Final = 20
_STOPPED: Final = ("T", "t")


def freeze(data: ReplicaData) -> None:
    """Hold all its processes. Blocks for some milliseconds. Raises `OSError` if they cannot be held; then they all go on."""
    try:
        for group in data.groups:
            if (file := Path(group) / FREEZE).exists():
                file.write_text("1")
                events = Path(group) / "cgroup.events"
                _wait(lambda: keyed(events).get("frozen") == 1)  # noqa: B023 - it is called at once
                return
            if (file := Path(group) / FREEZER_STATE).exists():
                file.write_text("FROZEN")
                _wait(lambda: file.read_text().strip() == "FROZEN")
                return
        _stop(data.pid)
    except OSError:
        thaw(data)
        raise


def thaw(data: ReplicaData) -> None:
    """Let them go on. Absence, and not being frozen, is success. Blocks for a moment."""
    if not thaw_groups(data.groups):
        for member in descendants(data.pid):
            if _is_stopped(member):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(member, signal.SIGCONT)


def is_frozen(data: ReplicaData) -> bool:
    """By the kernel's own word, so that it is known of a replica that was taken back, too."""
    for group in data.groups:
        with contextlib.suppress(OSError):
            return (Path(group) / FREEZE).read_text().strip() == "1"
        with contextlib.suppress(OSError):
            return (Path(group) / FREEZER_STATE).read_text().strip() != "THAWED"
    return bool(data.pid) and _state(data.pid) in _STOPPED


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _FROZEN_WITHIN
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("its processes could not be frozen in time")
        time.sleep(_LOOK_EVERY)


def _stop(pid: int) -> None:
    """By signals, parents first, until a look finds all stopped: one may start another while they are listed."""
    for _ in range(_PASSES):
        going = [member for member in descendants(pid) if not _is_stopped(member)]
        if not going:
            return
        for member in going:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGSTOP)
        time.sleep(_LOOK_EVERY)
    raise TimeoutError("its processes could not be stopped")


def _is_stopped(pid: int) -> bool:
    """Or ended."""
    return _state(pid) in (*_STOPPED, "Z", "X", "")


def _state(pid: int) -> str:
    """One letter (proc_pid_stat(5)); empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
