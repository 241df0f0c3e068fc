"""As root: user namespaces that are nothing but a map of ids, for mounts that show an image's files as a tenant's own.

The user that the image runs as becomes the tenant's; whoever else owns files in it stays what it is on the disk, so that they
can be read and not be changed.
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

Ids = tuple[int, int]

_libc = ctypes.CDLL(None, use_errno=True)


class IdMaps:
    """Keeps those that were used last."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Ids, Ids], int] = OrderedDict()

    def get(self, inside: Ids, outside: Ids) -> int:
        """A descriptor of the namespace that maps user and group `inside` to `outside`; it stays ours. Raises `OSError`."""
        key = (inside, outside)
        if key not in self._open:
            self._open[key] = _make(inside, outside)
            if len(self._open) > _KEPT:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(key)
        return self._open[key]


def render(inside: int, outside: int) -> str:
    """The lines of a `uid_map`: one id is another, all other ordinary ones are themselves."""
    lines = [f"{inside} {outside} 1"]
    if inside:
        lines.append(f"0 0 {min(inside, _ORDINARY)}")
    if inside + 1 < _ORDINARY:
        lines.append(f"{inside + 1} {inside + 1} {_ORDINARY - inside - 1}")
    return "\n".join(lines)


def _make(inside: Ids, outside: Ids) -> int:
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
        for name, one, other in (("uid_map", inside[0], outside[0]), ("gid_map", inside[1], outside[1])):
            Path(f"/proc/{pid}/{name}").write_text(render(one, other))
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.close(end_write)
        os.waitpid(pid, 0)
