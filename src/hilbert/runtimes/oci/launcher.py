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

import msgspec

from hilbert.kit import handover
from hilbert.runtimes.oci import id_maps
from hilbert.runtimes.oci.child import become
from hilbert.runtimes.oci.messages import Ended, Launch, Launched

_decoder = msgspec.json.Decoder(type=Launch)


class Launcher:
    """Everything happens in `run`."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._maps = id_maps.IdMaps()

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
            id_map = self._maps.get(order.id_map) if order.id_map is not None else -1
            pid = os.fork()
            if pid == 0:
                become(order, descriptors, id_map)
            # A sandbox that is asked to end with its parent ends with this process.
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            handover.send(self._control, msgspec.json.encode(Launched(request=order.request, pid=pid)))
        finally:
            handover.close(descriptors)
        return True

    def _reap(self, descriptor: int, pid: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
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
