"""As root: user namespaces that are nothing but a map of ids, for mounts that show an image's files as a tenant's own.

Where the image has one user, that becomes the tenant's; whoever else owns files in it stays what it is on the disk, so that
they can be read and not be changed. Where it has many, each becomes one of a block of ids that is the tenant's.
"""

from __future__ import annotations

import ctypes
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

_CLONE_NEWUSER: Final = 0x10000000
_KEPT: Final = 64
_ORDINARY: Final = 30_000
"""Ids below this one are never a tenant's (`replica.users`)."""

Maps = tuple[str, str]
"""The text of a `uid_map` and of a `gid_map`."""

_libc = ctypes.CDLL(None, use_errno=True)


class IdMaps:
    """Keeps those that were used last."""

    def __init__(self) -> None:
        self._open: OrderedDict[Maps, int] = OrderedDict()

    def get(self, maps: Maps) -> int:
        """A descriptor of a namespace with these maps; it stays ours. Raises `OSError`."""
        if maps not in self._open:
            self._open[maps] = _make(maps)
            if len(self._open) > _KEPT:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(maps)
        return self._open[maps]


def one_user(inside: tuple[int, int], outside: tuple[int, int]) -> Maps:
    """User and group `inside` are `outside`."""
    return render(inside[0], outside[0]), render(inside[1], outside[1])


def block(first: int, count: int) -> Maps:
    """All ids from 0 on are others, from `first` on."""
    return (f"0 {first} {count}",) * 2


def render(inside: int, outside: int) -> str:
    """The lines of a `uid_map`: one id is another, all other ordinary ones are themselves."""
    lines = [f"{inside} {outside} 1"]
    if inside:
        lines.append(f"0 0 {min(inside, _ORDINARY)}")
    if inside + 1 < _ORDINARY:
        lines.append(f"{inside + 1} {inside + 1} {_ORDINARY - inside - 1}")
    return "\n".join(lines)


def _make(maps: Maps) -> int:
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(end_write)
            done = _libc.unshare(_CLONE_NEWUSER)
            os.write(ready_write, b"-" if done else b"+")
            os.read(end_read, 1)
        finally:
            os._exit(0)
    os.close(ready_write)
    os.close(end_read)
    try:
        if os.read(ready_read, 1) != b"+":
            raise OSError("user namespaces cannot be made")
        for name, text in zip(("uid_map", "gid_map"), maps, strict=True):
            Path(f"/proc/{pid}/{name}").write_text(text)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.close(end_write)
        os.waitpid(pid, 0)
