"""What the control process and the launcher say to each other: JSON messages on a `SOCK_SEQPACKET` socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

OUTPUT, ARGUMENTS, INFO, BLOCK, FILTER = 1, 3, 4, 5, 6
"""Descriptors of a starting replica: its output, bubblewrap's arguments, where it is said which process was made, what that waits
for before it starts anything, and the system call filter."""
LAUNCH_MOST: Final = 60 * 1024
"""Bytes of an order; what a tenant decides on is given by descriptors."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """An OCI runtime (crun, runc, runsc), and how it is started."""

    path: str
    options: tuple[str, ...] = ()
    """Of its command line, before `run`."""
    mappers: tuple[tuple[str, ...], ...] = ()
    """For an ordinary user: the command lines that give a process of its its ids (newuidmap(1)), without that process's number."""


class Launch(msgspec.Struct, frozen=True, tag="launch", kw_only=True):
    """Control: start a replica. With the descriptors for `OUTPUT`, `ARGUMENTS`, `INFO`, `BLOCK` and, if any, `FILTER`."""

    request: int
    bwrap: str
    """bubblewrap's path."""
    engine: Engine | None = None
    """What to start in place of bubblewrap. `ARGUMENTS` is its `config.json` then, and `argv` stands in there."""
    argv: tuple[str, ...]
    """What it starts inside."""
    mark: str
    """The replica's folder: by it what is left of the replica is found."""
    image: str
    """The path of the image's tree."""
    writable: int
    """Bytes that may be written to the root; 0: none."""
    covers: tuple[tuple[str, str], ...]
    """Paths here, each with what it stands for inside."""
    folder: str
    """Inside: where it starts, made if it is not there."""
    user: tuple[int, int] | None
    """User and group to start it as, and with an engine, whose new files it is to own; None: those of this process."""
    limits: Mapping[int, int] = {}
    """What it sets for itself and all that it starts (setrlimit(2)), by resource."""
    id_map: tuple[str, str] | None = None
    """Show the image's files as if their owners were mapped so: the text of a `uid_map` and of a `gid_map`."""
    bound: bool = False
    """An engine is asked to end with the launcher."""
    spare: int = 0
    """The process that becomes the replica, which waits in a network; 0: a new one. If it has ended, nothing is started."""


class Spare(msgspec.Struct, frozen=True, tag="spare", kw_only=True):
    """Control: start a process that leaves for a network of its own and waits for an order. With one descriptor, where it says so."""

    request: int


ToLauncher = Launch | Spare


class Launched(msgspec.Struct, frozen=True, tag="launched", kw_only=True):
    """Launcher: bubblewrap's process, on its way."""

    request: int
    pid: int
    """0: the spare one has ended."""


class Ended(msgspec.Struct, frozen=True, tag="ended", kw_only=True):
    """Launcher: that process has ended, with this wait status."""

    pid: int
    status: int


FromLauncher = Launched | Ended
