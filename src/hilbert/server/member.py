"""The members of the family as the supervisor sees them: who runs in which place, and what it has said of late."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hilbert.kit.lifeline import CUT, READY

_LINE_MOST: Final = 4096


@dataclass
class Member:
    """A child that runs, and our end of its lifeline."""

    pid: int
    lifeline: socket.socket
    started: float
    """On the monotonic clock, as all times here."""
    heard: float
    """When it last said anything."""
    ready: bool = False
    leaving: bool = False
    """It was told to end, so its end is no failure."""
    woken: bool = False
    """It was found stopped and told to go on, since it was last heard."""
    received: bytes = b""

    def listen(self, now: float) -> list[str]:
        """Take in what it has said; returns what it had to cut off."""
        data = b""
        with contextlib.suppress(OSError):
            while piece := self.lifeline.recv(_LINE_MOST, socket.MSG_DONTWAIT):
                data += piece
        if not data:
            return []
        self.heard, self.woken = now, False
        *lines, rest = (self.received + data).split(b"\n")
        self.received = rest[-_LINE_MOST:]
        self.ready = self.ready or READY in lines
        return [line.removeprefix(CUT).decode("utf-8", "replace") for line in lines if line.startswith(CUT)]

    def signal(self, number: signal.Signals) -> None:
        # It is ours and not yet reaped, so its pid cannot have been given to another process.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped by a signal (proc_pid_stat(5)); one that a debugger holds is not."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (OSError, IndexError):
            return False


@dataclass
class Place:
    """A place in the family: who is there now, who comes next, who is on the way out, and how often it failed of late."""

    name: str
    module: str
    current: Member | None = None
    successor: Member | None = None
    """Already started, and not yet ready to take over."""
    retiring: list[Member] = field(default_factory=list)
    """Predecessors that are finishing their calls, the oldest first."""
    failures: int = 0
    due: float = 0.0
    """When to start it; meaningful while nobody is there."""

    def members(self) -> Iterator[Member]:
        for member in (self.current, self.successor, *self.retiring):
            if member is not None:
                yield member

    @property
    def is_vacant(self) -> bool:
        return self.current is None and self.successor is None

    def remove(self, pid: int) -> Member | None:
        """Take out the member that has ended; None if it is not of this place."""
        for member in self.members():
            if member.pid == pid:
                member.lifeline.close()
                if self.current is member:
                    self.current = None
                elif self.successor is member:
                    self.successor = None
                else:
                    self.retiring.remove(member)
                return member
        return None
