"""Whose something is: names that say it, and which installations live."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hilbert.runtimes.network.client import network_label
from hilbert.runtimes.process.machine import group_name

GROUP: Final = re.compile(r"hilbert-[0-9a-f]{8}")
TABLE: Final = re.compile(r"table inet hilbert-([0-9a-f]{4})$", re.MULTILINE)
_GROUPS: Final = Path("/sys/fs/cgroup")
_KEEPER: Final = "/keeper.sock"
_LOCK: Final = "/lock"


class Installation:
    """The names that what belongs to an installation has, all of them made from its run folder."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.replicas = run / "r"
        self.network = network_label(run)
        """In names of links, and of this machine's table of rules."""
        self.group = group_name(self.replicas)


def living() -> Iterator[Path]:
    """Run folders of installations that run now, as far as this user can see.

    Each has a network keeper that listens in it (of this machine's network), or a process that holds its lock open.
    """
    for line in _read(Path("/proc/net/unix")).splitlines():
        path = line.partition(" /")[2]
        if path and f"/{path}".endswith(_KEEPER):
            yield Path(f"/{path}").parent
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - only their names
        if "hilbert" not in _read(Path(f"/proc/{pid}/cmdline")):
            continue
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{number}")  # noqa: PTH115 - text
                    if target.endswith(_LOCK):
                        yield Path(target).parent


def group_folders(root: Path = _GROUPS) -> Iterator[Path]:
    """Control groups of installations, in every hierarchy and wherever in it their service manager has put them."""
    for folder, names, _ in os.walk(root):
        ours = [name for name in names if GROUP.fullmatch(name)]
        yield from (Path(folder, name) for name in ours)
        names[:] = [name for name in names if name not in ours]


def below(group: Path) -> list[Path]:
    """All groups in a group, the innermost first, and itself at last."""
    return [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]


def has_processes(group: Path) -> bool:
    """Whether anything runs in the group itself."""
    return bool(_read(group / "cgroup.procs").strip())


def mounts_below(folder: Path) -> list[Path]:
    """Mount points of this machine in the folder, the newest last (proc_pid_mountinfo(5))."""
    found = []
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        place = Path(re.sub(r"\\([0-7]{3})", lambda seen: chr(int(seen[1], 8)), line.split()[4]))
        if folder in place.parents:
            found.append(place)
    return found


def _read(path: Path) -> str:
    """Empty for what is gone, or not for this user."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
