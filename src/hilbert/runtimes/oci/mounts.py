"""Making a replica's root, in a mount namespace of its own. For single-threaded processes, on Linux 5.12 and later."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from hilbert.kit.mounts import attach, clone, mount, open_in

_PLACES: Final = ("/mnt", "/srv", "/opt", "/media", "/home", "/tmp")  # noqa: S108 - covered, not used
"""Folders to put the root together in, of which one that everybody can enter is there on every system."""

_COVERED: Final = ("proc", "dev", "tmp")
"""Where bubblewrap mounts what is new for every replica."""
_DEEPEST: Final = 32


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
    mount("tmpfs", place, "tmpfs", 0x2 | 0x4, f"mode=0755,size={writable + room or 65536}")
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
        mount("overlay", root, "overlay", 0x2 | 0x4, options + (",userxattr" if unprivileged else ""))
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
