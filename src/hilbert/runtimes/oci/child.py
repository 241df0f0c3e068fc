"""In a child of the launcher: what it does to itself until it is bubblewrap or an OCI runtime. Never returns.

An OCI runtime is started as the first process in a network of the replica's own, which is there, with the process to find it
by, before the runtime is: so networks, groups, waiting and signals are the same under all of them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from hilbert.kit import handover, mounts
from hilbert.runtimes.network.enter import raise_loopback
from hilbert.runtimes.oci.messages import ARGUMENTS, BLOCK, FILTER, INFO, OUTPUT, Engine, Launch
from hilbert.runtimes.oci.mounts import assemble

_ABOVE: Final = 64
"""Descriptors are moved here first, so that putting one in place does not overwrite another."""
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP, _SECCOMP_FILTER = 22, 2
_FILTER_MOST: Final = 32768
_ROOM: Final = 4 << 20
"""Bytes for a runtime's own state."""
_CONFIG_MOST: Final = 4 << 20
_HYBRID: Final = "/sys/fs/cgroup/unified"
"""A hierarchy of version 2 beside those of version 1, as systemd makes it: crun refuses to start when it sees both."""
_LOWEST_PORT: Final = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

_libc = ctypes.CDLL(None, use_errno=True)
_decoder = msgspec.json.Decoder(type=Launch)


def wait_in_network(orders: int, info: int) -> NoReturn:
    """Leave for a network of this process's own, say so at `info`, and become what the first order at `orders` says.

    Without one it ends, once nobody is there any more who could give it. It holds nothing else that is open: whoever waits for
    the end of another process must not wait for this one's, too.
    """
    try:
        first, second = sorted((orders, info))
        os.closerange(3, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if os.geteuid() != 0:
            mounts.leave_as_user()
        _make_network()
        os.write(info, b'{"child-pid": %d}' % os.getpid())
        os.close(info)
        info = -1
        with socket.socket(fileno=orders) as waiting:
            message, descriptors = handover.receive(waiting)
        if message:
            order = _decoder.decode(message)
            id_map = descriptors.pop() if order.id_map is not None else -1
            become(order, descriptors, id_map, waited=True)
    except OSError as exc:
        with suppress(OSError):
            os.write(info, str(exc.strerror or exc).encode()[:400])
    finally:
        os._exit(127)


def become(order: Launch, descriptors: Sequence[int], id_map: int, *, waited: bool = False) -> NoReturn:
    """What goes wrong is said where it would be said which process was made.

    `waited`: it has its network, and as an ordinary user its user namespace.
    """
    info = descriptors[2]
    try:
        places = (OUTPUT, ARGUMENTS, INFO, BLOCK, FILTER)
        moved = {place: _move(source) for place, source in zip(places, descriptors, strict=False)}
        id_map = -1 if id_map < 0 else _move(id_map)
        info = moved[INFO]
        if order.engine is None:
            _become_bubblewrap(order, moved, id_map, waited=waited)
        _become_engine(order, order.engine, moved, id_map, waited=waited)
    except OSError as exc:
        os.write(info, str(exc.strerror or exc).encode()[:400])
    finally:
        os._exit(127)


def _become_bubblewrap(order: Launch, moved: Mapping[int, int], id_map: int, *, waited: bool) -> NoReturn:
    unprivileged = os.geteuid() != 0
    if unprivileged and not waited:
        mounts.leave_as_user()
    mounts.leave()
    if not waited:
        _make_network()
    root = assemble(
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
    _limit(order.limits)
    if order.user is not None:
        os.setgroups([])
        os.setresgid(order.user[1], order.user[1], order.user[1])
        os.setresuid(order.user[0], order.user[0], order.user[0])
    _usual_signals()
    bind = "--bind" if order.writable else "--ro-bind"
    arguments = [order.bwrap, bind, root, "/", "--args", str(ARGUMENTS), "--", *order.argv]
    os.execve(order.bwrap, arguments, {"HILBERT_REPLICA": order.mark})  # noqa: S606 - no shell wanted


def _become_engine(order: Launch, engine: Engine, moved: Mapping[int, int], id_map: int, *, waited: bool) -> NoReturn:
    unprivileged = os.geteuid() != 0
    if unprivileged:  # Never one that has waited: it is one user alone.
        _take_ids(engine.mappers)
    mounts.leave()
    if not waited:
        _make_network()
    with suppress(OSError):
        Path(_LOWEST_PORT).write_text("0")  # The network is its own, so any port of it may be, as in other engines.
    root = assemble(
        order.image,
        writable=order.writable,
        covers=order.covers,
        folder=order.folder,
        owner=order.user,
        id_map=id_map,
        unprivileged=unprivileged,
        room=_ROOM,
    )
    if os.path.isdir(_HYBRID):  # noqa: PTH112 - quick
        mounts.cover(_HYBRID)
    place = os.path.dirname(root)  # noqa: PTH120
    Path(place, "config.json").write_bytes(os.read(moved[ARGUMENTS], _CONFIG_MOST))
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(moved[OUTPUT], 1)
    os.dup2(1, 2)
    _limit(order.limits)
    os.write(moved[INFO], b'{"child-pid": %d}' % os.getpid())
    os.close(moved[INFO])
    os.read(moved[BLOCK], 1)
    _usual_signals()
    if order.bound:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if FILTER in moved:
        _filter_calls(moved[FILTER])
    arguments = [engine.path, "--root", f"{place}/state", *engine.options, "run", "--bundle", place, "replica"]
    environment = {"HILBERT_REPLICA": order.mark, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": place}
    os.execve(engine.path, arguments, environment)  # noqa: S606 - as above


def _make_network() -> None:
    if _libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network of its own can be made")
    raise_loopback(wait=0.0)


def _filter_calls(descriptor: int) -> None:
    """Put this process, and whatever it starts, under a filter of system calls (seccomp(2)). Raises `OSError`."""
    lines = os.read(descriptor, _FILTER_MOST)
    text = ctypes.create_string_buffer(lines, len(lines))
    program = struct.pack("@HxxxxxxP", len(lines) // 8, ctypes.addressof(text))
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "system calls cannot be filtered")


def _take_ids(mappers: Sequence[Sequence[str]]) -> None:
    """Leave for a user namespace with several ids, which only a program with the right to give them can map.

    Without one, this user is root there and nobody else. Raises `OSError`.
    """
    user, group, own = os.geteuid(), os.getegid(), os.getpid()
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        os.close(ready_write)
        os._exit(0 if os.read(ready_read, 1) and all(_run([one[0], str(own), *one[1:]]) for one in mappers) else 1)
    os.close(ready_read)
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        os.close(ready_write)
        raise OSError(code, f"unshare: {os.strerror(code)}")
    os.write(ready_write, b"+")
    os.close(ready_write)
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError("newuidmap gives this user no ids")
    if not mappers:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(text)


def _run(words: Sequence[str]) -> bool:
    quiet = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (1, 2)]
    child = os.posix_spawn(words[0], list(words), {}, file_actions=quiet)
    return os.waitpid(child, 0)[1] == 0


def _limit(limits: Mapping[int, int]) -> None:
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (lowered, lowered))


def _usual_signals() -> None:
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _move(source: int) -> int:
    return fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
