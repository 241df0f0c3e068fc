"""Finding strays. Changes nothing.

An installation that nobody runs owns what has its label. Of other installations, only that is listed which no start of theirs
could take back, and which is safe to remove whoever it was: groups without processes, rules that lead nowhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.ports import Handle
from hilbert.runtimes.network import claims, links, machine
from hilbert.runtimes.replica.leftovers import running_replicas
from hilbert.runtimes.strays.whose import (
    TABLE,
    Installation,
    below,
    group_folders,
    has_processes,
    living,
    mounts_below,
)

AGE_LEAST: Final = 60.0
"""Seconds for which a control group without processes has been there before it is a stray: a start makes it empty."""
_NFT_MOST: Final = 20.0
_FOLDERS: Final = ("r", "trash", "pipes")
"""What a run folder holds for replicas."""


class Stray(msgspec.Struct, frozen=True):
    """One thing that was left."""

    kind: str
    """In words, e.g. `control group`."""
    name: str


def own_strays(own: Installation, handles: Iterable[Handle]) -> list[Stray]:
    """Of an installation that does not run; the caller holds its lock. `handles` are the replicas that it has stored."""
    found = [Stray("sandbox", name) for name in sorted(running_replicas(own.replicas, handles))]
    for name in _FOLDERS:
        with contextlib.suppress(OSError):
            found += [Stray("folder", f"{own.run}/{name}/{left}") for left in sorted(os.listdir(own.run / name))]  # noqa: PTH208
    found += [Stray("mount", str(place)) for place in mounts_below(own.run)]
    found += [Stray("control group", str(group)) for group in group_folders() if group.name == own.group]
    found += [Stray("network interface", name) for name in sorted(links.present(own.network))]
    return found


def other_strays(own: Installation) -> list[Stray]:
    """Of installations that are gone, whichever they were."""
    found = [Stray("control group", str(group)) for group in empty_groups(own)]
    return found + [Stray("firewall table", f"hilbert-{label}") for label in dead_tables()]


def empty_groups(own: Installation) -> Iterator[Path]:
    """Groups of no installation that lives, without a process in them."""
    alive = {Installation(run).group for run in living()} | {own.group}
    for group in group_folders():
        if group.name not in alive and is_empty(group):
            yield group


def is_empty(group: Path) -> bool:
    """Whether nothing runs in it or below, and nothing is about to."""
    now = time.time()
    try:
        return all(not has_processes(one) and now - one.stat().st_mtime > AGE_LEAST for one in below(group))
    except OSError:
        return False  # It changes just now, so somebody uses it.


def dead_tables() -> Sequence[str]:
    """Labels of this machine's tables of rules that belong to nobody: no process holds the claim, and no link is there."""
    program = shutil.which("nft")
    if os.geteuid() != 0 or program is None:
        return []
    done = subprocess.run([program, "list", "tables"], capture_output=True, text=True, timeout=_NFT_MOST, check=False)
    return [label for label in TABLE.findall(done.stdout) if machine.is_dead(label, folder=claims.FOLDER)]
