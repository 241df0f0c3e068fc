"""Removing strays: what `look` has found, and looked at once more just before."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hilbert.core.ports import Handle
from hilbert.kit.trees import NotFinished, remove_tree
from hilbert.runtimes.network import links, machine
from hilbert.runtimes.network.netlink import Netlink
from hilbert.runtimes.replica.groups import kill_groups
from hilbert.runtimes.replica.leftovers import end_leftovers
from hilbert.runtimes.strays.look import dead_tables, empty_groups
from hilbert.runtimes.strays.whose import Installation, below, group_folders, mounts_below

_MNT_DETACH: Final = 2
_GONE_MOST: Final = 5.0
"""Seconds for the kernel to take away the networks of what has ended."""
_LOOK_EVERY: Final = 0.02

_libc = ctypes.CDLL(None, use_errno=True)


def remove_own(own: Installation, handles: Iterable[Handle]) -> None:
    """Everything of an installation that does not run; the caller holds its lock. What cannot be removed stays."""
    groups = [group for top in group_folders() if top.name == own.group for group in below(top)]
    end_leftovers(own.replicas, handles)
    kill_groups([str(group) for group in groups])
    for group in groups:
        _remove_group(group)
    for place in reversed(mounts_below(own.run)):
        _libc.umount2(os.fsencode(place), _MNT_DETACH)
    for name in ("trash", "pipes"):
        _empty(own.run / name)
    end = time.monotonic() + _GONE_MOST
    while links.present(own.network) and time.monotonic() < end:
        time.sleep(_LOOK_EVERY)
    for name in links.present(own.network):
        with contextlib.suppress(OSError), Netlink() as netlink:
            netlink.remove(name)


def remove_others(own: Installation) -> None:
    """What is of nobody who lives: groups without processes, tables of rules without a claim or a link."""
    for top in list(empty_groups(own)):
        for group in below(top):
            _remove_group(group)
    program = shutil.which("nft")
    for label in dead_tables():
        with contextlib.suppress(OSError):
            machine.remove_dead(label, {"nft": program or ""})


def _remove_group(group: Path) -> None:
    """The kernel refuses while a process is in it, and for a moment after the last has ended."""
    end = time.monotonic() + 1.0
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                return
            time.sleep(_LOOK_EVERY)


def _empty(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for name in os.listdir(top):  # noqa: PTH208 - an open folder
                with contextlib.suppress(OSError, NotFinished):
                    remove_tree(name, dir_fd=top)
        finally:
            os.close(top)
