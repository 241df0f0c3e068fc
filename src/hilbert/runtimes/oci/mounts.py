"""Making a replica's root, in a mount namespace that nobody else sees and that is gone with its last process.

For single-threaded processes. The calls are those of Linux 5.12 and later: open_tree(2), mount_setattr(2), move_mount(2), and
openat2(2), with which no link of an image leads out of it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
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

_PLACES: Final = ("/mnt", "/srv", "/opt", "/media", "/home", "/tmp")  # noqa: S108 - covered, not used
"""Folders to put the root together in, of which one that everybody can enter is there on every system."""

_COVERED: Final = ("proc", "dev", "tmp")
"""Where bubblewrap mounts what is new for every replica."""
_DEEPEST: Final = 32

_libc = ctypes.CDLL(None, use_errno=True)


def leave(*, with_user: bool) -> None:
    """Leave for a mount namespace of this process's own; `with_user`: and a user namespace that maps this user to itself.

    Raises `OSError`.
    """
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if with_user else 0)), "unshare")
    if with_user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text)
    _mount(None, "/", None, _MS_REC_PRIVATE, None)


def leave_as_root_there() -> None:
    """After a user namespace was entered that is this process's own: leave for a mount namespace. Raises `OSError`."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount(None, "/", None, _MS_REC_PRIVATE, None)


def cover(path: str) -> None:
    """Hide a folder behind an empty one that nobody writes to. Raises `OSError`."""
    _mount("tmpfs", path, "tmpfs", 0x1 | 0x2 | 0x4, "size=4096")


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


def assemble(
    image: str,
    *,
    writable: int,
    covers: Sequence[tuple[str, str]],
    folder: str,
    owner: tuple[int, int] | None,
    id_map: int = -1,
    unprivileged: bool = False,
    room: int = 0,
) -> str:
    """Put together a replica's root: the image, with a layer of `writable` bytes of memory above it unless that is 0.

    `covers` are pairs: what is at the first path here stands at the second path inside, for reading only. One that the image
    has no place for is left out. `folder` is made for `owner` if it is not there. Returns the path of the root, which every
    user can reach; beside it there are `room` bytes of memory for others. Raises `OSError`.
    """
    # What is covered below is still found by these.
    lower = clone(image, read_only=True, id_map=id_map)
    sources = [(clone(source, read_only=True), inside) for source, inside in covers]
    place = next(path for path in _PLACES if os.path.isdir(path) and not os.path.islink(path))  # noqa: PTH112, PTH114 - quick
    _mount("tmpfs", place, "tmpfs", 0x2 | 0x4, f"mode=0755,size={writable + room or 65536}")
    root = f"{place}/root"
    os.mkdir(root)  # noqa: PTH102 - as above
    if writable:
        for name in ("image", "upper", "work"):
            os.mkdir(f"{place}/{name}")  # noqa: PTH102
        _attach_at(lower, f"{place}/image")
        seen = os.stat(f"{place}/image")  # noqa: PTH116
        os.chmod(f"{place}/upper", seen.st_mode & 0o777)  # noqa: PTH101
        if not unprivileged:
            os.chown(f"{place}/upper", seen.st_uid, seen.st_gid)
        options = f"lowerdir={place}/image,upperdir={place}/upper,workdir={place}/work"
        _mount("overlay", root, "overlay", 0x2 | 0x4, options + (",userxattr" if unprivileged else ""))
    else:
        _attach_at(lower, root)
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in _COVERED:  # Bubblewrap would follow a link, and not only inside.
        os.close(open_in(top, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW))
    if writable:
        _make_folder(top, folder, owner)
    for tree, inside in sources:
        try:
            target = open_in(top, inside, os.O_PATH)
        except OSError:
            continue
        attach(tree, target)
        os.close(target)
    return root


def _make_folder(top: int, path: str, owner: tuple[int, int] | None) -> None:
    """Make a folder inside, with those above it, as far as that is possible: entering it will say what is wrong."""
    parts = [part for part in path.split("/") if part and part != ".."][:_DEEPEST]
    for depth, name in enumerate(parts):
        try:
            os.close(open_in(top, "/".join(parts[: depth + 1]), os.O_PATH))
        except FileNotFoundError:
            above = open_in(top, "/".join(parts[:depth]), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.mkdir(name, 0o755, dir_fd=above)
                if owner is not None:
                    os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
            except OSError:
                return
            finally:
                os.close(above)
        except OSError:
            return


def _attach_at(tree: int, path: str) -> None:
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    attach(tree, target)
    os.close(target)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
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
