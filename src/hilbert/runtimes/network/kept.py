"""In the keeper: what it holds of one replica's network, from its process's start to its end."""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hilbert.runtimes.network import enter, uplink
from hilbert.runtimes.network.names import NameServer
from hilbert.runtimes.network.rules import CONNECTIONS_MOST
from hilbert.runtimes.network.setting_up import Order
from hilbert.runtimes.network.workers import Workers

_READY_MOST: Final = 5.0
"""Seconds for a program to configure its interface; it takes some milliseconds."""
_ACCEPTS_AT_ONCE: Final = 16
_PR_SET_PDEATHSIG: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Kept:
    """Closes itself when the replica's process ends: sockets would keep its network alive."""

    def __init__(
        self,
        namespace: str,
        process: int,
        order: Order,
        selector: selectors.BaseSelector,
        on_end: Callable[[], None],
    ) -> None:
        """Takes over `process`, a pidfd, and the network of `order`, which may be entered until `close`."""
        self.order = order
        self._namespace = namespace
        self._process = process
        self._selector = selector
        self._on_end = on_end
        self._door: socket.socket | None = None
        self.ahead: list[socket.socket] = []
        """Sockets for whoever calls into the replica first."""
        self._is_set_up = False
        self._once_set_up: list[Callable[[], None]] = []
        self._waiting = False
        """The door is left alone, since no worker is there, or all have more to do than they take."""
        self._held: socket.socket | None = None
        """The connection that was to be handed on then. Whoever comes after it waits in the kernel's queue."""
        self._names: NameServer | None = None
        self._uplink: subprocess.Popen[bytes] | None = None
        self._rising_until = 0.0
        selector.register(process, selectors.EVENT_READ, self._ended)

    def open(self, sockets: list[socket.socket], workers: Workers, *, descriptors: int) -> None:
        """Take over what `set_up` made: the door and the name server's two sockets as far as ordered, and those made ahead.

        `descriptors` is how many of this process may be open for questions for names.
        """
        made = iter(sockets)
        if self.order.gateway:
            self._door = next(made)
            self._door.setblocking(False)
            self._selector.register(self._door, selectors.EVENT_READ, lambda: self._accept(workers))
            if self.order.resolves:
                self._names = NameServer(next(made), next(made), self._selector, descriptors=descriptors)
        self.ahead = list(made)
        self._is_set_up = True
        if self.is_open:
            self._go_on_with_those_who_wait()
        else:  # It has ended meanwhile.
            self.close()

    def once_set_up(self, act: Callable[[], None]) -> None:
        """Do it now, or when the network has been set up or the replica has ended: before, there is nothing to give away."""
        if self._is_set_up or not self.is_open:
            act()
        else:
            self._once_set_up.append(act)

    def _go_on_with_those_who_wait(self) -> None:
        waiting, self._once_set_up = self._once_set_up, []
        for act in waiting:
            act()

    def move_in(self, namespace: str, process: int) -> None:
        """It is a replica's of that namespace from now on, and lives as long as that process, a pidfd that is taken over."""
        self._selector.unregister(self._process)
        os.close(self._process)
        self._namespace = namespace
        self._process = process
        self._selector.register(process, selectors.EVENT_READ, self._ended)

    @property
    def is_open(self) -> bool:
        return self._process >= 0

    def start_uplink(self) -> str:
        """Start the order's uplink, a program of this user's; `uplink_state` says what comes of it. Why not, else empty."""
        if not self.is_open:
            return "- the replica has ended"
        program, network = self.order.uplink, self.order.network
        path = self.order.programs[program]
        owner = enter.owner_of(network)
        try:
            self._uplink = subprocess.Popen(
                uplink.command(program, path, network=network, owner=owner),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(network, owner),
                preexec_fn=_end_with_keeper,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        except OSError as exc:
            return f"- {program}: {exc}"
        finally:
            os.close(owner)
        self._rising_until = time.monotonic() + _READY_MOST
        return ""

    def uplink_state(self, now: float) -> str | None:
        """None while it is rising, empty once it carries packets, else why it does not."""
        if self.is_open and _has_route(self._process):
            return ""
        if self.is_open and self._uplink is not None and self._uplink.poll() is None and now < self._rising_until:
            return None
        return f"- {self.order.uplink} did not set up the network; is /dev/net/tun open to this user?"

    def tidy(self, now: float, workers: Workers) -> None:
        """What is to be done now and then."""
        if self._names is not None:
            self._names.tidy(now)
        self.go_on(workers)

    @property
    def is_held_up(self) -> bool:
        """Whether it has a connection that nobody could take."""
        return self._held is not None

    def go_on(self, workers: Workers) -> None:
        """Let connections in again, if a worker takes them."""
        if self._waiting and workers.any and self._door is not None:
            if self._held is not None and not workers.hand_on(self._held, self._namespace):
                return
            self._waiting, self._held = False, None
            self._selector.register(self._door, selectors.EVENT_READ, lambda: self._accept(workers))

    def close(self) -> None:
        """Let go of everything. The network ends with its last process."""
        if self._process >= 0:
            self._selector.unregister(self._process)
            os.close(self._process)
            os.close(self.order.network)
            self._process = -1
        if self._door is not None:
            if not self._waiting:
                self._selector.unregister(self._door)
            self._door.close()
            self._door = None
        if self._held is not None:
            self._held.close()
            self._held = None
        for sock in self.ahead:
            sock.close()
        self.ahead = []
        if self._names is not None:
            self._names.close()
            self._names = None
        if self._uplink is not None:
            self._uplink.kill()
            self._uplink.wait()
            self._uplink = None
        self._go_on_with_those_who_wait()

    def _ended(self) -> None:
        self.close()
        self._on_end()

    def _accept(self, workers: Workers) -> None:
        door = self._door
        if door is None:
            return
        if not workers.any:
            self._selector.unregister(door)  # Until `tidy` finds one.
            self._waiting = True
            return
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                connection, _ = door.accept()
            except OSError:
                return
            if not workers.hand_on(connection, self._namespace):
                # A flood from elsewhere is no reason to turn this one away: it has its turn once there is room.
                self._selector.unregister(door)
                self._waiting, self._held = True, connection
                return


def _end_with_keeper() -> None:
    """Between fork and exec: be ended by the kernel when the keeper is, and hold no more connections than a replica may have.

    Each costs the program some hundred kilobytes, which nobody counts as the function's.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS_MOST, CONNECTIONS_MOST))


def _has_route(process: int) -> bool:
    """Whether the network of the process (a pidfd) has a default route."""
    try:
        known = Path(f"/proc/self/fdinfo/{process}").read_text()
        pid = next(line.split()[1] for line in known.splitlines() if line.startswith("Pid:"))
        routes = Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]
    except (OSError, StopIteration):
        return False
    return any(line.split()[1] == "00000000" for line in routes)
