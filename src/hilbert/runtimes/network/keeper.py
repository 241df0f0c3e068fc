"""The keeper: `python -m hilbert.runtimes.network.keeper`, with its configuration on standard input.

One for each installation, started by its control process and found again by the next. It enters the replicas' network
namespaces (in a child for each: a process that has several threads cannot), holds the sockets that listen there, hands
connections to `gateway` on to the workers, answers for name servers, and looks after the uplinks of ordinary users.
It ends once it keeps no network and no control process is there; what it kept ends with it, and can be made again.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

import hilbert
from hilbert.core.errors import HilbertError
from hilbert.core.network import Egress
from hilbert.kit import handover
from hilbert.kit.inside import COUNT_MOST
from hilbert.kit.process import is_ready, take_descriptors
from hilbert.runtimes.network import nftables, setting_up
from hilbert.runtimes.network.addresses import Pool, own_addresses
from hilbert.runtimes.network.furnish import furnish
from hilbert.runtimes.network.kept import Kept
from hilbert.runtimes.network.messages import (
    PROTOCOL,
    Attach,
    Attached,
    Config,
    Hello,
    Leave,
    MoveIn,
    ToKeeper,
)
from hilbert.runtimes.network.sockets import MADE_AHEAD, Sockets
from hilbert.runtimes.network.uplink import PROGRAMS
from hilbert.runtimes.network.workers import Workers

_TIDY_EVERY: Final = 2.0
"""Seconds between two looks for what is late."""
_LOOK_EVERY: Final = 0.002
"""Seconds between two looks at an uplink that is coming up."""
_HELD_UP: Final = 0.01
"""Seconds between two attempts to hand on connections that no worker had room for."""
_BUSY_EVERY: Final = 0.1
"""Seconds between two such looks while functions keep this process busy: each costs more than what they ask."""
_TELL_MOST: Final = 1.0
"""Seconds for a control process to have room for an answer."""

_LOW: Final = 16
"""Descriptors that are held free for children: libnftables waits with select(2), which knows no number above 1023, and aborts."""

_CROWDED: Final = (
    "- the network keeper has nearly as many files open as it may; raise the limit of open files (ulimit -n)"
)

_decoder = msgspec.json.Decoder(type=ToKeeper)


class Keeper:
    """Single-threaded; everything happens in `run`."""

    def __init__(self, config: Config, *, descriptors: int = 1024) -> None:
        """Listen at both sockets. `descriptors` is how many the process may open. Raises `OSError`."""
        self._config = config
        self._low = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(_LOW)]
        self._crowded = descriptors * 7 // 8
        self._descriptors = descriptors * 6 // 8
        """Of them, for questions for names: a connection to the gateway still finds one."""
        self._looked = 0.0
        self._pool = Pool(config.pool)
        self._selector = selectors.DefaultSelector()
        self._clients: set[socket.socket] = set()
        self._kept: dict[str, Kept] = {}
        self._ended = False
        self._addresses = own_addresses()
        self._followed = time.monotonic()
        self._rising: list[tuple[Kept, Callable[[str], None]]] = []
        """Uplinks that have been started and carry nothing yet, and whom to tell."""
        self._workers = Workers(Path(config.inside), self._selector)
        self._sockets = Sockets(Path(config.dial), self._selector, find=self._kept.get, make=self._make_sockets)
        self._control = handover.listen(Path(config.control))
        self._selector.register(self._control, selectors.EVENT_READ, self._join)

    def run(self) -> None:
        """Until there is nothing left to do."""
        started = time.monotonic()
        while not self._ended:
            held_up = [kept for kept in self._kept.values() if kept.is_held_up]
            wait = _LOOK_EVERY if self._rising else _HELD_UP if held_up else _TIDY_EVERY
            for key, _ in self._selector.select(wait):
                act: Callable[[], None] = key.data
                if self._selector.get_map().get(key.fd) is key:  # Not closed by an earlier one of this round.
                    try:
                        act()
                    except OSError as exc:  # Of one replica, or of want of descriptors: the others go on.
                        sys.stderr.write(f"the network keeper: {exc}\n")
            now = time.monotonic()
            for kept in held_up:
                kept.go_on(self._workers)
            self._look_at_uplinks(now)
            if now >= self._looked + _BUSY_EVERY:
                self._looked = now
                for kept in self._kept.values():
                    kept.tidy(now, self._workers)
                self._follow_addresses(now)
            # The one that has started this comes at once, or never.
            if not self._clients and not self._kept and now - started > _TIDY_EVERY:
                self._ended = True
        for kept in list(self._kept.values()):
            kept.close()
        handover.close(self._low)
        for path in (self._config.control, self._config.inside, self._config.dial):
            Path(path).unlink(missing_ok=True)

    def _look_at_uplinks(self, now: float) -> None:
        """Answer for those that have come up, or have not."""
        rising, self._rising = self._rising, []
        for kept, answer in rising:
            state = kept.uplink_state(now)
            if state is None:
                self._rising.append((kept, answer))
            else:
                answer(state)

    def _follow_addresses(self, now: float) -> None:
        """Close this machine's new addresses to replicas whose packets leave through this user's sockets.

        As root, the machine's own rules close them, whatever they are.
        """
        if now < self._followed + _TIDY_EVERY:
            return
        self._followed = now
        seen = own_addresses()
        if seen == self._addresses:
            return
        self._addresses = seen
        for replica, kept in self._kept.items():
            if kept.order.uplink in PROGRAMS:

                def done(error: str, _: list[socket.socket], replica: str = replica) -> None:
                    if error:
                        sys.stderr.write(f"the rules of {replica} could not be renewed: {error}\n")

                self._in_child(lambda kept=kept: setting_up.renew(kept.order, seen), done)  # type: ignore[misc]

    # Control processes

    def _join(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._control.accept()
            client.setblocking(False)
            self._clients.add(client)
            self._selector.register(client, selectors.EVENT_READ, lambda: self._hear(client))
            hello = Hello(protocol=PROTOCOL, version=hilbert.__version__, pid=os.getpid(), replicas=sorted(self._kept))
            self._tell(client, hello)

    def _hear(self, client: socket.socket) -> None:
        try:
            data, descriptors = handover.receive(client)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        try:
            match _decoder.decode(data) if data else None:
                case None:
                    self._lose(client)
                case Attach() as order:
                    self._attach(client, order, descriptors)
                case MoveIn() as order:
                    self._move_in(client, order, descriptors)
                case Leave():
                    self._ended = True
        except msgspec.MsgspecError:
            self._lose(client)
        finally:
            handover.close(descriptors)

    def _lose(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        self._clients.discard(client)
        client.close()
        if not self._clients and not self._kept:
            self._ended = True

    def _tell(self, client: socket.socket, message: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        data = msgspec.json.encode(message)
        with contextlib.suppress(OSError):  # It has gone; the next one asks again.
            try:
                handover.send(client, data, descriptors)
            except BlockingIOError:
                is_ready(client.fileno(), select.POLLOUT, within=_TELL_MOST)
                handover.send(client, data, descriptors)

    # What is asked

    def _attach(self, client: socket.socket, order: Attach, descriptors: list[int]) -> None:
        if order.replica in self._kept:
            self._tell(client, Attached(replica=order.replica))
            return
        try:
            process, network = descriptors
            egress = Egress.parse(order.egress)
        except (ValueError, HilbertError) as exc:
            self._tell(client, Attached(replica=order.replica, error=f"the order is not understood: {exc}"))
            return
        if network > self._crowded:  # The kernel gives the lowest number that is free, so it tells how many are open.
            self._tell(client, Attached(replica=order.replica, error=_CROWDED))
            return
        task = setting_up.Order(
            network=os.dup(network),
            uplink=order.uplink,
            egress=egress,
            resolves=order.resolves,
            gateway=order.gateway,
            ahead=MADE_AHEAD if order.called else 0,
            label=self._config.label,
            pool=self._pool,
            programs=self._config.programs,
            addresses=self._addresses,
        )
        kept = Kept(order.namespace, os.dup(process), task, self._selector, lambda: self._forget(kept))
        self._kept[order.replica] = kept

        def answer(error: str) -> None:
            if error:
                kept.close()
                self._forget(kept)
            self._tell(client, Attached(replica=order.replica, error=error))

        def done(error: str, sockets: list[socket.socket]) -> None:
            if not error:
                kept.open(sockets, self._workers, descriptors=self._descriptors)
                if order.uplink in PROGRAMS:
                    error = kept.start_uplink()
                    if not error:
                        self._rising.append((kept, answer))
                        return
            answer(error)

        self._in_child(lambda: setting_up.set_up(task), done)

    def _move_in(self, client: socket.socket, order: MoveIn, descriptors: list[int]) -> None:
        """The network of a spare sandbox becomes a replica's; one whose way out is not there yet does not."""
        kept = self._kept.get(order.spare)
        process, *room = descriptors or [-1]
        if kept is None or process < 0 or len(room) != (2 if order.room else 0) or order.replica in self._kept:
            self._tell(client, Attached(replica=order.replica, error="- there is no such spare sandbox"))
            return
        kept.move_in(order.namespace, os.dup(process))
        self._kept[order.replica] = self._kept.pop(order.spare)
        furniture = order.room
        if furniture is None:
            self._tell(client, Attached(replica=order.replica))
            return
        mounts, uts = room

        def work() -> list[socket.socket]:
            furnish(furniture, mounts=mounts, uts=uts)
            return []

        def done(error: str, _: list[socket.socket]) -> None:
            if error:  # It is of no use to anybody any more.
                kept.close()
                self._forget(kept)
            self._tell(client, Attached(replica=order.replica, error=error))

        self._in_child(work, done)

    def _make_sockets(self, kept: Kept, done: Callable[[str, list[socket.socket]], None]) -> None:
        if not kept.is_open:
            done("it has ended", [])
            return
        network = kept.order.network
        self._in_child(lambda: setting_up.make_sockets_in(network, COUNT_MOST), done)

    def _forget(self, gone: Kept) -> None:
        for replica in [replica for replica, kept in self._kept.items() if kept is gone]:
            del self._kept[replica]
        if not self._clients and not self._kept:
            self._ended = True

    def _in_child(
        self, work: Callable[[], list[socket.socket]], done: Callable[[str, list[socket.socket]], None]
    ) -> None:
        """Run `work` in a child, which may go where it likes, and `done` here with what it made."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            handover.close(self._low)
            _answer_and_exit(theirs, work)
        theirs.close()

        def ended() -> None:
            self._selector.unregister(ours)
            try:
                message, descriptors = handover.receive(ours)
            except OSError as exc:
                message, descriptors = f"- {exc}".encode(), []
            ours.close()
            os.waitpid(pid, 0)
            error = message.decode(errors="replace") if message else "- setting up the network ended without an answer"
            done("" if error == "ok" else error, [socket.socket(fileno=descriptor) for descriptor in descriptors])

        self._selector.register(ours, selectors.EVENT_READ, ended)


def _answer_and_exit(answer: socket.socket, work: Callable[[], list[socket.socket]]) -> None:
    """In the child. Never returns."""
    try:
        try:
            sockets = work()
            handover.send(answer, b"ok", [sock.fileno() for sock in sockets])
        except OSError as exc:
            handover.send(answer, f"- {exc}"[:400].encode())
    finally:
        os._exit(0)


def main() -> None:
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir("/")
    nftables.find_library()  # Once, for all children.
    keeper = Keeper(config, descriptors=take_descriptors())
    sys.stdout.write("ready\n")
    sys.stdout.close()
    keeper.run()


if __name__ == "__main__":
    main()
