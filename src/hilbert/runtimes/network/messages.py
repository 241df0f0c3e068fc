"""What the control process and the keeper say to each other: JSON messages on a `SOCK_SEQPACKET` socket."""

from __future__ import annotations

from typing import Final

import msgspec

PROTOCOL: Final = 3
"""Raised with every change of this file: a keeper of another number is replaced."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a keeper is started with, on its standard input."""

    control: str
    """Path of the socket for control processes."""
    inside: str
    """Path of the socket for workers, which take the calls from inside."""
    dial: str
    """Path of the socket for those who ask for sockets inside."""
    label: str
    """Four hexadecimal digits of this installation."""
    pool: str
    """The network of the replicas' addresses."""
    programs: dict[str, str]
    """Paths of `nft` and of the uplink programs that work here."""


class Hello(msgspec.Struct, frozen=True, tag="hello", kw_only=True):
    """Keeper, first: who it is."""

    protocol: int
    version: str
    pid: int
    replicas: list[str]
    """Whose networks it keeps."""


class Attach(msgspec.Struct, frozen=True, tag="attach", kw_only=True):
    """Control: give this replica its network. With two descriptors: its process (pidfd) and its network namespace.

    Of a replica that is known nothing changes. Everything ends by itself with the process.
    """

    replica: str
    namespace: str
    uplink: str = ""
    """`veth`, `slirp4netns`, `pasta`, or empty for the loopback alone."""
    egress: str = "internet"
    resolves: bool = True
    """Offer a name server inside."""
    gateway: bool = True
    """The gateway is reached from inside. Without, there is the loopback and nothing else."""
    called: bool = False
    """It is called at ports that it listens on itself."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a spare sandbox lacks, that has mounts of its own, until a replica moves in."""

    host: str
    """Host name inside."""
    mounts: tuple[tuple[str, str], ...]
    """Folders here, each with the folder inside where it is to be seen, for reading only."""
    read_only: bool
    """Nothing can be written to its root."""


class MoveIn(msgspec.Struct, frozen=True, tag="move-in", kw_only=True):
    """Control: what was attached as `spare` is this replica's from now on. With the process's pidfd, and its mount and UTS
    namespaces where there is a `room` to furnish. Nothing of what the network allows changes.
    """

    spare: str
    replica: str
    namespace: str
    room: Room | None = None


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """Control: end, a newer keeper takes over."""


class Attached(msgspec.Struct, frozen=True, tag="attached", kw_only=True):
    """Keeper: how it went."""

    replica: str
    error: str = ""
    """One sentence; empty when all is in place."""


ToKeeper = Attach | MoveIn | Leave
FromKeeper = Hello | Attached
