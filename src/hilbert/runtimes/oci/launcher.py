"""The launcher: `python -m hilbert.runtimes.oci.launcher FD`, started by the control process, which has the other end of FD.

It is small and has one thread, so that a child of it can become anything within a millisecond: it leaves for namespaces of its
own, puts the replica's root together there, gives up root's rights and becomes bubblewrap. The launcher itself knows nothing
of replicas but whose parent it is, and ends with the control process. Replicas go on.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from hilbert.kit import handover
from hilbert.runtimes.oci import id_maps, mounts
from hilbert.runtimes.oci.messages import ARGUMENTS, BLOCK, FILTER, INFO, OUTPUT, Ended, Launch, Launched

_ABOVE: Final = 64
"""Descriptors are moved here first, so that putting one in place does not overwrite another."""

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
            id_map = self._maps.get(order.inside, order.user) if order.id_map and order.user is not None else -1
            pid = os.fork()
            if pid == 0:
                _become(order, descriptors, id_map)
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


def _become(order: Launch, descriptors: Sequence[int], id_map: int) -> NoReturn:
    """In the child. What goes wrong is said where bubblewrap would say which process it has made."""
    info = descriptors[2]
    try:
        places = (OUTPUT, ARGUMENTS, INFO, BLOCK, FILTER)
        moved = {place: _move(source) for place, source in zip(places, descriptors, strict=False)}
        id_map = -1 if id_map < 0 else _move(id_map)
        info = moved[INFO]
        unprivileged = os.geteuid() != 0
        mounts.leave(with_user=unprivileged)
        root = mounts.assemble(
            order.image,
            writable=order.writable,
            covers=order.covers,
            folder=order.folder,
            owner=order.user,
            id_map=id_map,
            unprivileged=unprivileged,
        )
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for place, source in moved.items():
            os.dup2(source, place)
        os.dup2(OUTPUT, 2)
        for kind, most in order.limits.items():
            _, hard = resource.getrlimit(kind)
            lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (lowered, lowered))
        if order.user is not None:
            os.setgroups([])
            os.setresgid(order.user[1], order.user[1], order.user[1])
            os.setresuid(order.user[0], order.user[0], order.user[0])
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        bind = "--bind" if order.writable else "--ro-bind"
        arguments = [order.bwrap, bind, root, "/", "--args", str(ARGUMENTS), "--", *order.argv]
        os.execve(order.bwrap, arguments, {"HILBERT_REPLICA": order.mark})  # noqa: S606 - no shell wanted
    except OSError as exc:
        os.write(info, str(exc.strerror or exc).encode()[:400])
    finally:
        os._exit(127)


def _move(source: int) -> int:
    import fcntl

    return fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE)


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
