"""What the control process and the launcher say to each other: JSON messages on a `SOCK_SEQPACKET` socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

OUTPUT, ARGUMENTS, INFO, BLOCK, FILTER = 1, 3, 4, 5, 6
"""Descriptors of a starting replica: its output, bubblewrap's arguments, where that says which process it made, what it waits
for before it starts anything, and the system call filter."""
LAUNCH_MOST: Final = 60 * 1024
"""Bytes of an order; what a tenant decides on is given by descriptors."""


class Launch(msgspec.Struct, frozen=True, tag="launch", kw_only=True):
    """Control: start a replica. With the descriptors for `OUTPUT`, `ARGUMENTS`, `INFO`, `BLOCK` and, if any, `FILTER`."""

    request: int
    bwrap: str
    """bubblewrap's path."""
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
    """User and group to start it as; None: those of this process."""
    inside: tuple[int, int]
    """Those by which it knows itself."""
    limits: Mapping[int, int] = {}
    """What it sets for itself and all that it starts (setrlimit(2)), by resource."""
    id_map: bool
    """Show it what belongs to `inside` in the image as its own."""


class Launched(msgspec.Struct, frozen=True, tag="launched", kw_only=True):
    """Launcher: bubblewrap's process, on its way."""

    request: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended", kw_only=True):
    """Launcher: that process has ended, with this wait status."""

    pid: int
    status: int


FromLauncher = Launched | Ended
