"""Entering another process's network namespace, as root or as the user who owns it. For single-threaded processes."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import time
from pathlib import Path
from typing import Final

_NS_GET_USERNS: Final = 0xB701
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUTS: Final = 0x04000000
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_SYS_CAP: Final = {"x86_64": (125, 126), "aarch64": (90, 91)}
"""Numbers of capget and capset."""
_LOOPBACK_MOST: Final = 2.0
_LOOK_EVERY: Final = 0.0005
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40
_CAP_NET_ADMIN: Final = 12
_CAP_VERSION: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def owner_of(namespace: int) -> int:
    """A descriptor of the user namespace that owns this one (ioctl_ns(2)). Raises `OSError`.

    bubblewrap nests two user namespaces, so that the one its processes live in is not the owner of their network.
    """
    return fcntl.ioctl(namespace, _NS_GET_USERNS)


def enter(network: int) -> None:
    """Move this process into a network namespace, and into its owner if that is not the one it is in. Raises `OSError`.

    Not as root, who has every right there from outside: inside, it would be nobody, and programs that it starts could do nothing.
    """
    if os.geteuid() == 0:
        _setns(network, _CLONE_NEWNET)
        return
    owner = owner_of(network)
    try:
        if os.fstat(owner).st_ino != Path("/proc/self/ns/user").stat().st_ino:
            _setns(owner, _CLONE_NEWUSER)
    finally:
        os.close(owner)
    _setns(network, _CLONE_NEWNET)


def enter_room(mounts: int, uts: int) -> None:
    """Move this process into a sandbox's mount and UTS namespaces, as `enter` does into a network. Raises `OSError`."""
    if os.geteuid() != 0:
        owner = owner_of(mounts)
        try:
            _setns(owner, _CLONE_NEWUSER)
        finally:
            os.close(owner)
    _setns(uts, _CLONE_NEWUTS)
    _setns(mounts, _CLONE_NEWNS)


def keep_net_admin() -> None:
    """Let programs that this process starts administer its network, whatever user it is there. Raises `OSError`.

    In the user namespace it has just entered it has every capability, but one that is no root there loses them on exec.
    """
    numbers = _SYS_CAP.get(os.uname().machine)
    if numbers is None:
        raise OSError("capabilities cannot be kept on this machine's architecture")
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAP_VERSION, 0))
    sets = ctypes.create_string_buffer(24)
    _check(_libc.syscall(ctypes.c_long(numbers[0]), header, sets), "capget")
    words = list(struct.unpack("=6I", sets.raw[:24]))
    words[2] |= 1 << _CAP_NET_ADMIN  # Inheritable, the low half.
    changed = ctypes.create_string_buffer(struct.pack("=6I", *words))
    _check(_libc.syscall(ctypes.c_long(numbers[1]), header, changed), "capset")
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_NET_ADMIN, 0, 0), "prctl PR_CAP_AMBIENT")


def unshare_network() -> None:
    """Leave for a new network namespace, without privileges in a user namespace of its own. Raises `OSError`."""
    _check(_libc.unshare(_CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET), "unshare")


def raise_loopback(*, wait: float = _LOOPBACK_MOST) -> None:
    """Switch on the loopback of the network that this process is in (netdevice(7)). Raises `OSError`.

    First give whoever made the network `wait` seconds to do so: bubblewrap gives it an address and gives up when it has one.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        end = time.monotonic() + wait
        while time.monotonic() < end:
            (flags,) = struct.unpack_from("16xH", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("40s", b"lo")))
            if flags & _IFF_UP:
                return
            time.sleep(_LOOK_EVERY)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))


def _setns(namespace: int, kind: int) -> None:
    _check(_libc.setns(namespace, kind), "setns")


def _check(result: int, name: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
