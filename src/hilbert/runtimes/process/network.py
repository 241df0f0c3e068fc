"""The network that a replica has: the host's, or one of its own with nothing but a loopback.

`make_own` runs inside the starting replica, so nothing is imported here that it does not need.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final

_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def make_own(*, with_mounts: bool = False) -> None:
    """Leave the host's network for a namespace with a loopback alone; `with_mounts`: and its mounts, so that `cover` works.

    Without privileges, inside a user namespace. Raises `OSError`.
    """
    user, group = os.geteuid(), os.getegid()
    wanted = _CLONE_NEWNET | (_CLONE_NEWNS if with_mounts else 0)
    if user == 0:
        _unshare(wanted)
    else:
        _unshare(_CLONE_NEWUSER | wanted)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 - pathlib costs 5 ms of every start
                file.write(text)
    if with_mounts:
        _mount(None, "/", _MS_REC | _MS_PRIVATE)
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up_and_running, set_flags = 0x41, 0x8914
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", up_and_running))


def cover(etc: Sequence[tuple[str, str]]) -> None:
    """Put each file over another, from now on and for this process alone: names are found otherwise there. Raises `OSError`."""
    for source, target in etc:
        if os.path.exists(target):  # noqa: PTH110 - pathlib, as above
            _mount(source, target, _MS_BIND)


def without_unix_upstream(environment: Mapping[str, str]) -> Mapping[str, str]:
    """For sandboxes without named unix sockets: the child of mode `http` listens on a port of the loopback instead.

    The port is free now; if somebody else takes it before the child does, the replica fails and the next one gets another.
    """
    import socket

    changed = dict(environment)
    for name in ("upstream_url", "http_upstream_url"):
        if changed.get(name, "").startswith("unix:"):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                changed[name] = f"http://127.0.0.1:{probe.getsockname()[1]}"
    return changed


def _mount(source: str | None, target: str, flags: int) -> None:
    if (
        _libc.mount(None if source is None else source.encode(), target.encode(), None, ctypes.c_ulong(flags), None)
        != 0
    ):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {target}: {os.strerror(code)}")


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")
