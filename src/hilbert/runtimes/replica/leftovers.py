"""Ending replicas whose platform is gone, by what is left of them: their handles if there are any, and their folders."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from hilbert.core.ports import Handle
from hilbert.kit.trees import NotFinished, remove_tree
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.folder import remove_secrets
from hilbert.runtimes.replica.groups import kill_groups, remove_groups
from hilbert.runtimes.replica.handle import ReplicaData

_SECRETS: Final = re.compile(rb"/([\w.-]+)/secrets ")
_PASSES: Final = 20
"""Looks through all processes: one may start another while they are listed."""


def running_replicas(folder: Path, handles: Iterable[Handle]) -> set[str]:
    """Names of the folders of replicas that run, as `end_leftovers` would find them. Changes nothing."""
    found = {name for _, name in _users(folder)}
    for data in map(ReplicaData.of, handles):
        descriptor = proc.open_process(data.pid, data.started) if data.pid else None
        if descriptor is not None:
            os.close(descriptor)
            found.add(Path(data.folder).name)
    return found


def end_leftovers(folder: Path, handles: Iterable[Handle]) -> int:
    """Kill all replicas that `handles` or the folders in `folder` tell of, and remove those. Returns how many ran."""
    ended: set[str] = set()
    for data in map(ReplicaData.of, handles):
        descriptor = proc.open_process(data.pid, data.started) if data.pid else None
        if descriptor is not None:
            os.close(descriptor)
            ended.add(Path(data.folder).name)
            if not data.groups:
                proc.kill_tree(data.pid)
        kill_groups(data.groups)
        with contextlib.suppress(OSError):
            remove_groups(data.groups)
    ended |= _end_users(folder)
    with contextlib.suppress(FileNotFoundError):
        for place in list(folder.iterdir()):
            _remove(place)
    return len(ended)


def _remove(folder: Path) -> None:
    """Its secrets at all events. What a tenant has made too much of is left for the next start."""
    top = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError, NotFinished):
            remove_secrets(folder)
            remove_tree(folder.name, dir_fd=top)
    finally:
        os.close(top)


def _end_users(folder: Path) -> set[str]:
    """Kill every process of a replica below `folder`; returns the names of those replicas' folders."""
    ended: set[str] = set()
    for _ in range(_PASSES):
        found = list(_users(folder))
        for pid, name in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            ended.add(name)
        if not found:
            break
    return ended


def _users(folder: Path) -> Iterator[tuple[int, str]]:
    """Processes of replicas below `folder`, each with the name of its replica's folder."""
    mark = re.compile(re.escape(str(folder)).encode() + rb"/([\w.-]+)")
    names = {os.fsencode(name) for name in (os.listdir(folder) if folder.is_dir() else ())}  # noqa: PTH208 - only names
    for entry in os.listdir("/proc"):  # noqa: PTH208 - many entries, and only their names
        if entry.isdigit() and (name := _replica(entry, mark, names)):
            yield int(entry), name


def _replica(pid: str, mark: re.Pattern[bytes], names: Collection[bytes]) -> str:
    """The replica that a process belongs to: by its environment, by what is mounted in its sandbox, or as bubblewrap."""
    here = Path("/proc", pid)
    try:
        if (here / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return ""
        found = mark.search((here / "environ").read_bytes())
        if not found and (here / "comm").read_text().strip() == "bwrap":
            found = mark.search((here / "cmdline").read_bytes())
        if not found and (here / "ns" / "mnt").readlink() != Path("/proc/self/ns/mnt").readlink():
            # Paths begin at the root of a file system, wherever that is mounted here, so the names have to do.
            found = next((one for one in _SECRETS.finditer((here / "mountinfo").read_bytes()) if one[1] in names), None)
    except (OSError, IndexError):
        return ""
    return found[1].decode() if found else ""
