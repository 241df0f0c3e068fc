"""The one tree of an image, made of its unpacked layers by hard links: a file is on the disk once, however many images have it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hilbert.images.tree import Hostile, Tree
from hilbert.images.unpack import Layer

MOUNT_POINTS: Final = ("proc", "dev", "sys", "tmp", "run", "var/openfaas/secrets")
"""Folders that every tree has, for what a runtime mounts there."""
MOUNTED_FILES: Final = ("etc/resolv.conf", "etc/hosts", "etc/hostname")


def assemble(layers: Sequence[tuple[Layer, Path]], target: Path) -> None:
    """Make the tree in the empty folder `target` from layers and their files, the lowest first.

    Raises `Hostile`, and `OSError` when the disk is full.
    """
    tree = Tree(target)
    for layer, files in layers:
        for folder in map(os.fsdecode, layer.emptied):
            real = tree.find(folder)
            if real is not None:
                tree.empty(real)
        for path in map(os.fsdecode, layer.hidden):
            folder, _, name = path.rpartition("/")
            real = tree.find(folder)
            if real is not None:
                tree.remove(f"{real}/{name}" if real else name)
        _lay_over(tree, files, frozenset(map(os.fsdecode, layer.passed)))
        for link, linked in layer.links:
            _link_below(tree, os.fsdecode(link), os.fsdecode(linked))
    _make_mount_points(tree)


def _lay_over(tree: Tree, files: Path, passed: frozenset[str]) -> None:
    """Put a layer's files into the tree."""
    pending = [("", "")]
    folders: list[tuple[str, os.stat_result]] = []
    while pending:
        source, target = pending.pop()
        with os.scandir(f"{files}/{source}") as found:
            entries = list(found)
        for entry in entries:
            inside = f"{source}/{entry.name}" if source else entry.name
            path = f"{target}/{entry.name}" if target else entry.name
            if not entry.is_dir(follow_symlinks=False):
                _put(tree, entry.path, path)
                continue
            real = _folder(tree, path, implied=inside in passed)
            pending.append((inside, real))
            if inside not in passed:
                folders.append((real, entry.stat(follow_symlinks=False)))
    for path, seen in reversed(folders):
        place = tree.place(path)
        if os.geteuid() == 0:
            os.chown(place, seen.st_uid, seen.st_gid, follow_symlinks=False)
        os.chmod(place, stat.S_IMODE(seen.st_mode))
        os.utime(place, ns=(seen.st_mtime_ns, seen.st_mtime_ns))


def _folder(tree: Tree, path: str, *, implied: bool) -> str:
    """A folder of the tree: the one that is there, or a new one. `implied`: a link to a folder will do, too."""
    place = tree.place(path)
    if implied:
        return tree.reach(path)
    try:
        mode = os.lstat(place).st_mode
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISDIR(mode):
            return path
        tree.remove(path)
    os.mkdir(place, 0o755)
    return path


def _put(tree: Tree, source: str, path: str) -> None:
    """Link a file or a symbolic link into the tree, in place of what is there."""
    place = tree.place(path)
    try:
        os.link(source, place, follow_symlinks=False)
    except FileExistsError:
        tree.remove(path)
        _put(tree, source, path)
    except OSError as exc:
        # The most links that a file may have, or a file system that has none.
        if exc.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
            raise
        shutil.copy2(source, place, follow_symlinks=False)
        if os.geteuid() == 0:
            seen = os.lstat(source)
            os.chown(place, seen.st_uid, seen.st_gid, follow_symlinks=False)


def _link_below(tree: Tree, path: str, linked: str) -> None:
    """A hard link of an upper layer to a file of a lower one."""
    folder, _, name = linked.rpartition("/")
    real = tree.find(folder)
    source = tree.place(f"{real}/{name}" if real else name)
    if real is None or not os.path.lexists(source) or stat.S_ISDIR(os.lstat(source).st_mode):
        raise Hostile("it has a hard link to a file that it does not have")
    folder, _, name = path.rpartition("/")
    real = tree.reach(folder)
    path = f"{real}/{name}" if real else name
    if not os.path.lexists(tree.place(path)) or not os.path.samestat(os.lstat(source), os.lstat(tree.place(path))):
        _put(tree, source, path)


def _make_mount_points(tree: Tree) -> None:
    """Real folders and files at the places where a runtime mounts: a link there could lead a mount elsewhere."""
    for point in MOUNT_POINTS:
        _real_folder(tree, point, replace=True)
    for file in MOUNTED_FILES:
        _real_folder(tree, file.rpartition("/")[0], replace=False)
        place = tree.place(file)
        if not os.path.lexists(place) or not stat.S_ISREG(os.lstat(place).st_mode):
            tree.remove(file)
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
    os.chmod(tree.root, 0o755)
    tmp = tree.place("tmp")
    os.chmod(tmp, 0o1777)


def _real_folder(tree: Tree, path: str, *, replace: bool) -> None:
    """The folder, itself and all above it no links. `replace` what else is at its place, since it is mounted over."""
    here = ""
    for part in path.split("/"):
        here = f"{here}/{part}" if here else part
        place = tree.place(here)
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(mode):
                continue
            if here != path or not replace:
                raise Hostile(f"its /{here} is not a folder of its own, so nothing can be mounted below it")
            tree.remove(here)
        os.mkdir(place, 0o755)
        os.chmod(place, 0o755)
