"""Mounts of one's own, in a mount namespace that nobody else sees and that is gone with its last process.

For single-threaded processes. The calls are those of Linux 5.12 and later: open_tree(2), mount_setattr(2), move_mount(2), and
openat2(2), with which no link in a folder leads out of it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 428, 429, 437, 442
"""The same on every architecture."""
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_OPEN_TREE_CLONE: Final = 1
_MOVE_EMPTY_PATHS: Final = 0x4 | 0x40
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_IDMAP = 0x1, 0x2, 0x4, 0x00100000
_IN_ROOT: Final = 0x10 | 0x02
"""RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS."""
_AT_FDCWD: Final = -100

_libc = ctypes.CDLL(None, use_errno=True)


def leave_as_user() -> None:
    """Leave for a user namespace of this process's own that maps its user to itself. Raises `OSError`."""
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(CLONE_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(text)


def leave() -> None:
    """Leave for a mount namespace of this process's own. As root, or in a user namespace of its own. Raises `OSError`."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount(None, "/", None, _MS_REC_PRIVATE, None)


def cover(path: str) -> None:
    """Hide a folder behind an empty one that nobody writes to. Raises `OSError`."""
    mount("tmpfs", path, "tmpfs", 0x1 | 0x2 | 0x4, "size=4096")


def open_in(root: int, path: str, flags: int) -> int:
    """Open a path inside a folder as its processes will: no link leads out. Raises `OSError`."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _IN_ROOT)
    call = (_SYS_OPENAT2, root, path.lstrip("/").encode() or b".", how, len(how))
    return _check(_call(*call), f"open {path}")


def clone(path: str, *, read_only: bool, id_map: int = -1) -> int:
    """A mount of its own of what is at `path`, not to be seen anywhere yet. Raises `OSError`.

    `id_map` is a user namespace: owners are shown as it maps them (mount_setattr(2)). Setuid files and devices have no effect.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = _check(_call(_SYS_OPEN_TREE, _AT_FDCWD, path.encode(), flags), f"mount {path}")
    attributes = _ATTR_NOSUID | _ATTR_NODEV | (_ATTR_RDONLY if read_only else 0)
    attributes |= _ATTR_IDMAP if id_map >= 0 else 0
    wanted = struct.pack("=QQQQ", attributes, 0, 0, max(id_map, 0))
    call = (_SYS_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, wanted, len(wanted))
    try:
        _check(_call(*call), f"mount {path}")
    except OSError:
        os.close(tree)
        raise
    return tree


def attach(tree: int, target: int) -> None:
    """Put a clone where `target` is, an open folder or file. Raises `OSError`."""
    call = (_SYS_MOVE_MOUNT, tree, b"", target, b"", _MOVE_EMPTY_PATHS)
    _check(_call(*call), "move_mount")


def close_to_writing(path: str) -> None:
    """Let the mount at `path` be read only, whatever else it is. Raises `OSError`."""
    wanted = struct.pack("=QQQQ", _ATTR_RDONLY, 0, 0, 0)
    _check(_call(_SYS_MOUNT_SETATTR, _AT_FDCWD, path.encode(), 0, wanted, len(wanted)), f"mount {path}")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    """mount(2). Raises `OSError`."""
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    done = _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(done, f"mount {kind or ''} on {target}")


def _call(*arguments: int | bytes) -> int:
    result: int = _libc.syscall(
        *(ctypes.c_long(one) if isinstance(one, int) else ctypes.c_char_p(one) for one in arguments)
    )
    return result


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
