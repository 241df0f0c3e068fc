"""In a child of the keeper: giving a spare sandbox what the replica that moves in is to see, from outside.

The sandbox itself cannot: its processes have no right to mount anything, now or before.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Final

from hilbert.kit import handover
from hilbert.kit.mounts import attach, clone, close_to_writing, leave, leave_as_user
from hilbert.runtimes.network import enter
from hilbert.runtimes.network.messages import Room

_MOUNTS_MOST: Final = 32
"""Bundle and layers of one replica; no bundle has as many."""


def furnish(room: Room, *, mounts: int, uts: int) -> None:
    """`mounts` and `uts` are the sandbox's namespaces, in which this process stays. Raises `OSError`."""
    if len(room.mounts) > _MOUNTS_MOST:
        raise OSError("the bundle has too many layers")
    sources = [source for source, _ in room.mounts]
    trees = _clones(sources) if os.geteuid() == 0 else _clones_of_a_child(sources)
    enter.enter_room(mounts, uts)
    socket.sethostname(room.host)
    for tree, (_, inside) in zip(trees, room.mounts, strict=True):
        target = os.open(inside, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        attach(tree, target)
        os.close(target)
    if room.read_only:
        close_to_writing("/")


def _clones(sources: Sequence[str]) -> list[int]:
    return [clone(source, read_only=True) for source in sources]


def _clones_of_a_child(sources: Sequence[str]) -> list[int]:
    """An ordinary user may mount in namespaces of its own alone; and whoever is in those, can enter the sandbox's no more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            leave_as_user()
            leave()
            handover.send(theirs, b"ok", _clones(sources))
        except OSError as exc:
            handover.send(theirs, str(exc).encode()[:300])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        said, trees = handover.receive(ours)
    os.waitpid(pid, 0)
    if said != b"ok":
        handover.close(trees)
        raise OSError(said.decode(errors="replace") or "the bundle could not be mounted")
    return trees
