"""What can be asked of and done to a replica's processes together, from its control groups where it has some.

Works from paths alone, so that a replica can be ended by a later run that would make no such groups any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hilbert.core.model import Usage

FREEZE: Final = "cgroup.freeze"
FREEZER_STATE: Final = "freezer.state"
"""Files that stop all processes of a group, in versions 2 and 1."""
_SWEEPS: Final = 200
_PAUSE: Final = 0.001
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def kill_groups(groups: Sequence[str]) -> None:
    """Kill every process in the groups. Blocks for at most some tenths of a second. Absence is success."""
    thaw_groups(groups)  # In version 1, what is frozen does not even end.
    for _ in range(_SWEEPS):  # A process may fork while the list is read.
        members = {pid for group in groups for pid in _members(group)}
        if not members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)


def thaw_groups(groups: Sequence[str]) -> bool:
    """Let frozen processes go on. False: none of the groups can be frozen."""
    found = False
    for group in groups:
        for name, going in ((FREEZE, "0"), (FREEZER_STATE, "THAWED")):
            with contextlib.suppress(OSError):
                descriptor = os.open(f"{group}/{name}", os.O_WRONLY | os.O_CLOEXEC)
                with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor
                    file.write(going)
                found = True
    return found


def remove_groups(groups: Sequence[str]) -> None:
    """Remove empty groups, and what held only them. Blocks as `kill_groups` does. Absence is success. Raises `OSError`."""
    for group in groups:
        for sweep in range(_SWEEPS):
            try:
                _remove_below(group)
                Path(group).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as exc:
                # A dead process leaves its group only a moment after it was waited for.
                if exc.errno != errno.EBUSY or sweep == _SWEEPS - 1:
                    raise
                time.sleep(_PAUSE)
        with contextlib.suppress(OSError):  # The namespace's, if this was its last replica.
            Path(group).parent.rmdir()


def _remove_below(group: str) -> None:
    for entry in os.scandir(group):
        if entry.is_dir(follow_symlinks=False):
            _remove_below(entry.path)
            Path(entry.path).rmdir()


def end_groups(groups: Sequence[str]) -> None:
    """Kill what is in the groups, and remove them as far as that is possible. Blocks."""
    kill_groups(groups)
    with contextlib.suppress(OSError):
        remove_groups(groups)


def out_of_memory(groups: Sequence[str]) -> bool:
    """Whether the kernel has killed one of the processes for want of memory under their limit."""
    return any(
        keyed(Path(group) / name).get("oom_kill", 0) > 0
        for group in groups
        for name in ("memory.events", "memory.oom_control")
    )


def measure(groups: Sequence[str], pid: int) -> tuple[float, float] | None:
    """CPU seconds so far and bytes of memory now, of the groups or else of `pid` and all below it."""
    cpu, memory = cpu_of(groups), None
    for group in groups:
        for name in ("memory.usage_in_bytes", "memory.current"):
            with contextlib.suppress(OSError, ValueError):
                memory = float((Path(group) / name).read_text())
    if cpu is not None and memory is not None:
        return cpu, memory
    return _measure_tree(pid)


def cpu_of(groups: Sequence[str]) -> float | None:
    """CPU seconds that groups have used, also by processes that have ended. None where they do not tell."""
    cpu = None
    for group in groups:
        with contextlib.suppress(OSError, ValueError):
            cpu = int((Path(group) / "cpuacct.usage").read_text()) / 1e9
        usec = keyed(Path(group) / "cpu.stat").get("usage_usec")
        cpu = cpu if usec is None else usec / 1e6
    return cpu


def _measure_tree(pid: int) -> tuple[float, float] | None:
    seconds = memory = 0.0
    found = False
    for member in descendants(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / _TICKS
            memory += int(fields[21]) * _PAGE
            found = True
    return (seconds, memory) if found else None


def descendants(pid: int) -> Iterator[int]:
    """`pid` and all below it, parents first, as far as `/proc` shows them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - many entries, and only their names
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    stack = [pid]
    while stack:
        member = stack.pop()
        yield member
        stack += children.get(member, ())


class UsageMeter:
    """Makes rates of counters: CPU time since the last look, for each replica."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def rate(self, replica: str, seconds: float, memory: float) -> Usage:
        now = time.monotonic()
        then, before = self._last.get(replica, (now, seconds))
        self._last[replica] = (now, seconds)
        elapsed = now - then
        cpu = max(0.0, seconds - before) / elapsed * 1000 if elapsed > 0 else 0.0
        return Usage(cpu_millis=cpu, memory_bytes=memory)

    def forget(self, replica: str) -> None:
        self._last.pop(replica, None)


def members_of(groups: Sequence[str], pid: int) -> list[int]:
    """Processes of a replica: of its groups, or without any `pid` and all below it."""
    return [member for group in dict.fromkeys(groups) for member in _members(group)] or list(descendants(pid))


def _members(group: str) -> list[int]:
    """Of the group and of those below it, such as runc makes."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        found += [int(line) for line in (Path(group) / "cgroup.procs").read_text().split()]
        for entry in os.scandir(group):
            if entry.is_dir(follow_symlinks=False):
                found += _members(entry.path)
    return found


def keyed(path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if value.isdigit():
                found[name] = int(value)
    return found
