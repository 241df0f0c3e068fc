"""The launcher: `python -m hilbert.runtimes.oci.launcher FD`, started by the control process, which has the other end of FD.

It is small and has one thread, so that a child of it can become anything within a millisecond: it leaves for namespaces of its
own, puts the replica's root together there, gives up root's rights and becomes bubblewrap or an OCI runtime. The launcher itself knows nothing
of replicas but whose parent it is, and ends with the control process. Replicas go on.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence

import msgspec

from hilbert.kit import handover
from hilbert.runtimes.oci import id_maps
from hilbert.runtimes.oci.child import become, wait_in_network
from hilbert.runtimes.oci.messages import Ended, Launch, Launched, Spare, ToLauncher

_decoder = msgspec.json.Decoder(type=ToLauncher)


class Launcher:
    """Everything happens in `run`."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._maps = id_maps.IdMaps()
        self._spares: dict[int, socket.socket] = {}
        """Where those processes wait for an order that have none yet."""

    def run(self) -> None:
        """Until the control process has gone."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._reap(key.fd, key.data)
                elif not self._hear():
                    return

    def _hear(self) -> bool:
        message, descriptors = handover.receive(self._control)
        if not message:
            return False
        try:
            order = _decoder.decode(message)
            if isinstance(order, Spare):
                pid = self._start_spare(descriptors[0])
            elif order.spare:
                pid = self._order_spare(order, message, descriptors)
            else:
                pid = self._start(order, descriptors)
            handover.send(self._control, msgspec.json.encode(Launched(request=order.request, pid=pid)))
        finally:
            handover.close(descriptors)
        return True

    def _start(self, order: Launch, descriptors: Sequence[int]) -> int:
        id_map = self._id_map(order)
        pid = os.fork()
        if pid == 0:
            become(order, descriptors, id_map)
        self._watch(pid)
        return pid

    def _start_spare(self, info: int) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = os.fork()
            if pid == 0:
                wait_in_network(theirs.fileno(), info)
        self._spares[pid] = ours
        self._watch(pid)
        return pid

    def _order_spare(self, order: Launch, message: bytes, descriptors: Sequence[int]) -> int:
        """Pass the order on. Its number, or 0 if it has ended."""
        waiting = self._spares.pop(order.spare, None)
        if waiting is None:
            return 0
        id_map = self._id_map(order)
        with waiting:
            try:
                handover.send(waiting, message, [*descriptors, *((id_map,) if id_map >= 0 else ())])
            except ConnectionError:
                return 0
        return order.spare

    def _id_map(self, order: Launch) -> int:
        return self._maps.get(order.id_map) if order.id_map is not None else -1

    def _watch(self, pid: int) -> None:
        """A sandbox that is asked to end with its parent ends with this process."""
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)

    def _reap(self, descriptor: int, pid: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        if pid in self._spares:
            self._spares.pop(pid).close()
        handover.send(self._control, msgspec.json.encode(Ended(pid=pid, status=status)))


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    control.setblocking(True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It ends with the control process, never before it.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir("/")
    Launcher(control).run()


if __name__ == "__main__":
    main()
