"""What a sandbox is given and what it answers: where one replica's things are outside and inside, and who it runs as."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from hilbert.core.isolation import Promise
from hilbert.runtimes.process.images import Bundle


class Occupant(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox makes a command of."""

    folder: Path
    """The replica's own, with `secrets/` and `etc/`."""
    host: str
    """Host name inside, where there is one."""
    bundle: Bundle
    user: tuple[int, int] | None
    """User and group to run as; None: those of this process."""
    network: bool
    """It shares the host's."""
    etc: Mapping[str, str] = {}
    """Files of `/etc` that it has instead of the host's, by name, with their text."""
    read_only: bool
    bound: bool = False
    """It ends with the thread that starts it, however that ends."""
    spare: bool = False
    """Nobody yet: the sandbox is made ahead, for whoever comes first. `bundle` is an empty folder."""


def own_etc(occupant: Occupant) -> Mapping[str, str]:
    """Files of `/etc` in the occupant's folder, by name, with their text."""
    user, group = occupant.user or (os.geteuid(), os.getegid())
    return {
        "passwd": "root:x:0:0:root:/root:/sbin/nologin\n"
        f"app:x:{user}:{group}:app:/home/app:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
        "group": f"root:x:0:\napp:x:{group}:\nnogroup:x:65534:\n",
        "hostname": f"{occupant.host[:64]}\n",
        **occupant.etc,
    }


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica finds things."""

    bundle: str
    layers: tuple[str, ...]
    secrets: str
    scratch: str
    """A folder to write to, for `TMPDIR`."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `entry` does to itself before the watchdog runs, as its only argument in JSON."""

    paths: tuple[str, ...]
    """Of `sys.path`."""
    chdir: str
    gate: int = -1
    """Descriptor that gives one byte when the replica may go on; its end without one means: end."""
    environment: int = -1
    """Descriptor of the function's environment, in JSON."""
    user: tuple[int, int] | None = None
    drop: bool = False
    """Give up all capabilities and ever gaining any."""
    own_network: bool = False
    """Make a network namespace with a loopback."""
    etc: tuple[tuple[str, str], ...] = ()
    """With `own_network`: files to put over others, as pairs of source and target."""
    read: tuple[str, ...] = ()
    """With Landlock: what may be read and executed."""
    write: tuple[str, ...] = ()
    """With Landlock: what may be written, too."""
    landlock: bool = False
    scope: bool = False
    """With Landlock: no signals and no abstract sockets outside; files as they are."""
    filter: bool = False
    """Refuse system calls that reach past the sandbox."""
    metadata: bool = False
    """With the filter: files may change their mode, owner, times and attributes."""
    parent: int = 0
    """Process with which to end; 0: none."""
    spare: bool = False
    """Import what every replica needs, then wait at the gate for another one of these, with the descriptors `HANDED`."""
    limits: Mapping[int, int] = {}
    """What it sets for itself and all that it starts (setrlimit(2)), by resource."""
    probe: bool = False
    """Stop before the watchdog: only to see whether all this works."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """How to start an occupant in one sandbox."""

    argv: tuple[str, ...]
    """Before the interpreter's own; empty: the interpreter is started directly."""
    entry: Entry
    places: Places
    isolated: bool
    """The process started is the parent of the replica, in another process namespace; it tells the child on `INFO`."""
    mark: Mapping[str, str] = {}
    """An environment variable by which what the replica leaves behind is found."""
    unix_sockets: bool = True
    """Processes inside can make named unix sockets."""
    filter: bytes = b""
    """A system call filter, to be given on `FILTER`."""


class Sandbox(Protocol):
    """One way of keeping replicas apart."""

    level: str

    def command(self, occupant: Occupant) -> Command: ...

    def promises(self, *, network: bool, own_user: bool) -> frozenset[Promise]:
        """What it holds by itself. `network`: shared with the host; `own_user`: each namespace has a user id."""
        ...

    def facts(self) -> Mapping[str, str]:
        """What it leaves open, as `warning.*`."""
        ...


LISTEN, GATE, ENVIRONMENT, INFO, FILTER, BLOCK = 3, 4, 5, 6, 7, 8
"""Descriptors of a starting replica: its socket, gate and environment; and for bubblewrap, where it says which process it
made, the system call filter, and what it waits for before it starts anything."""
HANDED = (LISTEN, ENVIRONMENT, 1)
"""Those that a spare sandbox gets with its entry; the last one for all its output."""
