"""A folder that holds an image's files, written to by names that a stranger chose.

Every name is followed inside the folder: a link that leads up or to `/` ends at the folder's top, as it would for a process
whose root this is. Only one process writes to a tree, so a name that was followed once stays what it was until it is removed.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from pathlib import Path
from typing import Final

from hilbert.kit.trees import NotFinished, remove_tree

MOST_DEPTH: Final = 200
"""Folders within one another."""
_MOST_LINKS: Final = 40
"""As Linux follows in one name (`path_resolution(7)`)."""
_MOST_KNOWN: Final = 20_000


class Hostile(Exception):
    """The image holds what no honest one does. The message is public."""


class Tree:
    """A tree of files below `root`. Paths are relative, with `/` between their parts, empty for the top."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._known: dict[str, str] = {}
        self.made: list[str] = []
        """Folders that were made on the way to something, without being named themselves."""

    def place(self, path: str) -> str:
        """The absolute path of a path that has been followed."""
        return f"{self.root}/{path}" if path else self.root

    def find(self, path: str) -> str | None:
        """Where the folder `path` really is, following links inside the tree. None: it is no folder. Raises `Hostile`."""
        return self._follow(path, make=False)

    def reach(self, path: str) -> str:
        """As `find`, and makes what is missing, also in place of files. Raises `Hostile`, and `OSError`."""
        found = self._follow(path, make=True)
        if found is None:
            raise RuntimeError("what is missing was to be made")
        return found

    def _follow(self, path: str, *, make: bool) -> str | None:
        known = self._known.get(path)
        if known is not None:
            return known
        done: list[str] = []
        todo = deque(path.split("/")) if path else deque()
        links = 0
        while todo:
            part = todo.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                if done:
                    done.pop()
                continue
            here = "/".join([*done, part])
            try:
                mode = os.lstat(self.place(here)).st_mode
            except FileNotFoundError:
                if not make:
                    return None
                self._make(here)
            else:
                if stat.S_ISLNK(mode):
                    links += 1
                    if links > _MOST_LINKS:
                        raise Hostile("it has links that lead in a circle")
                    target = os.readlink(self.place(here))
                    if target.startswith("/"):
                        done = []
                    todo.extendleft(reversed(target.split("/")))
                    continue
                if not stat.S_ISDIR(mode):
                    if not make:
                        return None
                    self.remove(here)
                    self._make(here)
            done.append(part)
            if len(done) > MOST_DEPTH:
                raise Hostile(f"it has more than {MOST_DEPTH} levels of folders")
        found = "/".join(done)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[path] = found
        return found

    def remove(self, path: str) -> None:
        """Remove what is at a followed path, itself no link that is followed. Absence is success."""
        self._known.clear()
        folder, _, name = path.rpartition("/")
        descriptor = os.open(self.place(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while True:
                try:
                    return remove_tree(name, dir_fd=descriptor)
                except NotFinished:
                    continue
        finally:
            os.close(descriptor)

    def empty(self, path: str) -> None:
        """Remove all that is in a followed folder."""
        for name in os.listdir(self.place(path)):
            self.remove(f"{path}/{name}" if path else name)

    def _make(self, path: str) -> None:
        os.mkdir(self.place(path), 0o755)
        os.chmod(self.place(path), 0o755)
        self.made.append(path)


def split_name(name: str) -> tuple[str, str]:
    """The folder and the last part of a name in an archive, both empty for the top itself.

    Leading slashes and `./` do not count. Raises `Hostile` for a name that leads up, or that no file can have.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Hostile(f"it holds the name {shown(name)}, which leads out of it")
    if "\0" in name:
        raise Hostile(f"it holds the name {shown(name)}, which no file can have")
    if len(parts) > MOST_DEPTH:
        raise Hostile(f"it has more than {MOST_DEPTH} levels of folders")
    if any(len(os.fsencode(part)) > 255 for part in parts) or len(os.fsencode(name)) > 4000:
        raise Hostile(f"it holds the name {shown(name)}, which is too long for a file")
    return "/".join(parts[:-1]), parts[-1] if parts else ""


def shown(name: str) -> str:
    """A stranger's name, for a message of ours."""
    return ascii(name[:80]) + ("..." if len(name) > 80 else "")
