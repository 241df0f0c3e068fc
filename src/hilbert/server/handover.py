"""Taking a new version into use: the supervisor hands over to itself, started anew from the package as it is now.

The process stays the same, and with it its children, its sockets and its locks. A trial comes first
(`python -m hilbert.server.handover FD`): another process loads the package and reads what would be handed over.
If that fails, nothing has changed.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
from typing import Final, NoReturn

import msgspec

from hilbert.core.settings import Settings
from hilbert.server.member import Member, Place

TAKE_OVER: Final = "--take-over"
_MODULES: Final = (
    "hilbert.server.supervisor",
    "hilbert.server.control",
    "hilbert.server.log_keeper",
    "hilbert.server.compose",
    "hilbert.server.sweep",
    "hilbert.dataplane.worker",
    "hilbert.providers.host",
    "hilbert.runtimes.host",
)
"""What has to load before anything is given up for it."""


class HeldMember(msgspec.Struct, frozen=True):
    """A child that goes on under the new supervisor."""

    pid: int
    lifeline_fd: int
    age: float
    """Seconds since its start."""
    ready: bool
    leaving: bool


class HeldPlace(msgspec.Struct, frozen=True):
    """A place of the family, by its name."""

    name: str
    current: HeldMember | None
    retiring: tuple[HeldMember, ...]


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """All that a supervisor has. Fields may be added, with defaults; a later version reads what an earlier one wrote."""

    settings: Settings
    started_at: str
    served: bool
    """Whether a control process has been ready in this platform's life."""
    lock_fds: tuple[int, ...]
    public_fds: tuple[int, ...]
    metrics_fd: int
    control_fd: int
    feed_fd: int
    logs_fd: int
    places: tuple[HeldPlace, ...]
    delivery_secret: str = ""
    """Old workers and the new control process must agree on it. Empty, from a version without: a new one is made."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        held = [member for place in self.places for member in (place.current, *place.retiring) if member]
        sockets = (*self.public_fds, self.metrics_fd, self.control_fd, self.feed_fd, self.logs_fd)
        return (*self.lock_fds, *sockets, *(member.lifeline_fd for member in held))


def hold(place: Place) -> HeldPlace:
    """The place as it is handed over. A successor that is not ready is not: it must be gone before."""

    def held(member: Member) -> HeldMember:
        age = time.monotonic() - member.started
        return HeldMember(member.pid, member.lifeline.fileno(), age, member.ready, member.leaving)

    current = held(place.current) if place.current else None
    return HeldPlace(place.name, current, tuple(map(held, place.retiring)))


def take(place: Place, held: HeldPlace) -> None:
    """Fill a place with what was handed over."""
    now = time.monotonic()

    def member(entry: HeldMember) -> Member:
        line = socket.socket(fileno=entry.lifeline_fd)
        return Member(entry.pid, line, now - entry.age, now, ready=entry.ready, leaving=entry.leaving)

    place.current = member(held.current) if held.current else None
    place.retiring = [member(entry) for entry in held.retiring]


def read(descriptor: int) -> Handover:
    """What was handed over, with its descriptors made private again. Raises `msgspec.MsgspecError` and `OSError`."""
    with os.fdopen(descriptor, "rb") as document:
        handover = msgspec.json.decode(document.read(), type=Handover)
    for inherited in handover.descriptors:
        os.set_inheritable(inherited, False)
    return handover


def become(handover: Handover) -> NoReturn:
    """Go on as the package that is installed now. Does not return; raises `OSError` if nothing has changed."""
    document = os.memfd_create("hilbert-handover")  # Inherited, as are the descriptors that it names.
    try:
        os.write(document, msgspec.json.encode(handover))
        os.lseek(document, 0, os.SEEK_SET)
        for descriptor in (document, *handover.descriptors):
            os.set_inheritable(descriptor, True)
        command = [sys.executable, "-P", "-m", "hilbert.server", TAKE_OVER, str(document)]
        os.execv(sys.executable, command)  # noqa: S606 - no shell wanted
    finally:
        for descriptor in handover.descriptors:
            os.set_inheritable(descriptor, False)
        os.close(document)


def main(argv: list[str]) -> int:
    """The trial. Its last words go to standard error."""
    with os.fdopen(int(argv[1]), "rb") as document:
        msgspec.json.decode(document.read(), type=Handover)
    for module in _MODULES:
        importlib.import_module(module)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
