"""One layer of an image, from its tar file to a folder. What it says of lower layers is noted for `assemble`.

The rules of layers, whiteouts among them: https://github.com/opencontainers/image-spec/blob/main/layer.md. An image comes from
a stranger: names stay inside the folder, no device, pipe or setuid bit is made, and everything is counted.
"""

from __future__ import annotations

import math
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

import msgspec

from hilbert.images.packing import Unpacked, unpacking
from hilbert.images.tree import Hostile, Tree, shown, split_name

MOST_ENTRIES: Final = 400_000
"""Files, folders and links in one image. The largest that people use have some 250,000."""
_MOST_PARTS: Final = 100_000
"""Pieces of one sparse file."""
_HIDE: Final = ".wh."
_HIDE_ALL: Final = ".wh..wh..opq"
_HIDE_OWN: Final = ".wh..wh."
"""What aufs keeps for itself."""
_NOBODY: Final = 65534
_HIGHEST_OWNER: Final = 65535
_HIGHEST_OF_FEW: Final = 29999
"""Where there are no more user ids than 65,536: namespaces of functions have theirs from 30,000 on."""
_LATEST: Final = 2**33
"""Seconds; the year 2242."""
_PIECE: Final = 1 << 20
_NOT_MADE: Final = frozenset({tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE})


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """An unpacked layer, beside its files."""

    digest: str
    """Of the tar file."""
    size: int
    """Bytes of all files."""
    entries: int
    hidden: tuple[bytes, ...] = ()
    """Paths of lower layers that are not there any more. As bytes, since a file's name need not be text."""
    emptied: tuple[bytes, ...] = ()
    """Folders of which nothing in lower layers is there any more."""
    passed: tuple[bytes, ...] = ()
    """Folders that were not named themselves: in lower layers they may be links to other folders."""
    links: tuple[tuple[bytes, bytes], ...] = ()
    """Hard links to files of lower layers: path and target."""
    skipped: int = 0
    """Devices and pipes."""


class Budget(msgspec.Struct):
    """What an image may still take; used up while it is unpacked."""

    size: int
    """Bytes."""
    entries: int = MOST_ENTRIES


class Unpacker:
    """Unpacks one layer into an empty folder."""

    def __init__(self, folder: Path, budget: Budget, *, owners: int | None) -> None:
        """`owners`: files get the owners that the archive gives them, up to this number. None: all are this process's user's."""
        self._tree = Tree(folder)
        self._budget = budget
        self._owners = owners
        self._size = 0
        self._entries = 0
        self._skipped = 0
        self._hidden: list[str] = []
        self._emptied: list[str] = []
        self._links: list[tuple[str, str]] = []
        self._named: set[str] = set()
        self._folders: dict[str, float] = {}
        """With their times, which are set last."""

    def unpack(self, packed: Path, *, told: Callable[[int], None] | None = None) -> Layer:
        """Raises `Hostile`, and `OSError` when the disk is full. `told` is told the bytes that were read."""
        most = self._budget.size + self._budget.entries * 2048
        with unpacking(packed, most=most, told=told) as source:
            try:
                self._read(source)
            except (tarfile.TarError, UnicodeError, ValueError, OverflowError) as exc:
                raise Hostile(f"a layer is not a readable archive: {exc}") from exc
            digest = source.finish()
        for path, when in reversed(self._folders.items()):
            if os.path.isdir(self._tree.place(path)):
                os.utime(self._tree.place(path), (when, when))
        return Layer(
            digest=digest,
            size=self._size,
            entries=self._entries,
            hidden=tuple(map(os.fsencode, self._hidden)),
            emptied=tuple(map(os.fsencode, self._emptied)),
            passed=tuple(os.fsencode(path) for path in self._tree.made if path not in self._named),
            links=tuple((os.fsencode(path), os.fsencode(target)) for path, target in self._links),
            skipped=self._skipped,
        )

    def _read(self, source: Unpacked) -> None:
        # `r|`: never goes back. Its list of members would grow with the archive.
        with tarfile.open(fileobj=cast("BinaryIO", source), mode="r|", bufsize=1 << 16) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]
                self._count(member)
                self._take(archive, member)

    def _count(self, member: tarfile.TarInfo) -> None:
        self._entries += 1
        self._budget.entries -= 1
        if self._budget.entries < 0:
            raise Hostile(f"it holds more than {MOST_ENTRIES} files")
        if member.size < 0:
            raise Hostile("it has a file with a negative size")
        if member.isreg():
            self._size += member.size
            self._budget.size -= member.size
            if self._budget.size < 0:
                raise Hostile("its files are larger than images.max_size allows")

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        folder, name = split_name(member.name)
        if name.startswith(_HIDE):
            self._hide(folder, name)
            return
        if member.type in _NOT_MADE:
            self._skipped += 1
            return
        real = self._tree.reach(folder)
        path = f"{real}/{name}" if real else name
        if member.isdir():
            self._make_folder(member, path)
            return
        if not name:
            raise Hostile("its top is not a folder")
        if member.islnk():
            self._link(member, path)
        elif member.issym():
            self._clear(path)
            if not member.linkname or "\0" in member.linkname or len(os.fsencode(member.linkname)) > 4000:
                raise Hostile(f"the link {shown(member.name)} leads nowhere")
            os.symlink(member.linkname, self._tree.place(path))
            self._own(member, path)
            os.utime(self._tree.place(path), _times(member), follow_symlinks=False)
        elif member.type in tarfile.REGULAR_TYPES or member.type == tarfile.GNUTYPE_SPARSE:
            self._clear(path)
            self._write(archive, member, path)
        else:
            raise Hostile(f"{shown(member.name)} is neither a file nor a folder nor a link")

    def _hide(self, folder: str, name: str) -> None:
        if name == _HIDE_ALL:
            self._emptied.append(folder)
        elif not name.startswith(_HIDE_OWN):
            hidden = name.removeprefix(_HIDE)
            if hidden in ("", ".", ".."):
                raise Hostile("it removes a folder in which it is itself")
            self._hidden.append(f"{folder}/{hidden}" if folder else hidden)

    def _make_folder(self, member: tarfile.TarInfo, path: str) -> None:
        place = self._tree.place(path)
        if path and (os.path.islink(place) or not os.path.isdir(place)):
            self._clear(path)
            os.mkdir(place, 0o700)
        self._named.add(path)
        self._own(member, path)
        os.chmod(place, _mode(member, at_least=0o700 if self._owners is None else 0))
        self._folders[path] = _times(member)[0]

    def _link(self, member: tarfile.TarInfo, path: str) -> None:
        folder, name = split_name(member.linkname)
        real = self._tree.find(folder)
        target = f"{real}/{name}" if real else name
        place = self._tree.place(target)
        if not name or (os.path.isdir(place) and not os.path.islink(place)):
            raise Hostile(f"{shown(member.name)} is a hard link to a folder")
        if target == path:
            return
        self._clear(path)
        if real is not None and os.path.lexists(place):
            os.link(place, self._tree.place(path), follow_symlinks=False)
        else:
            self._links.append((path, f"{folder}/{name}" if folder else name))

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        content = archive.extractfile(member)
        if content is None:
            raise Hostile(f"{shown(member.name)} has no content")
        descriptor = os.open(
            self._tree.place(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            here = 0
            for start, size in _parts(member):
                _copy(content, None, start - here, member)
                file.seek(start)
                _copy(content, file, size, member)
                here = start + size
            file.truncate(member.size)
            if self._owners is not None:
                os.fchown(descriptor, _owner(member.uid, self._owners), _owner(member.gid, self._owners))
            os.fchmod(descriptor, _mode(member, at_least=0o600 if self._owners is None else 0))
            os.utime(descriptor, _times(member))

    def _clear(self, path: str) -> None:
        if os.path.lexists(self._tree.place(path)):
            self._tree.remove(path)

    def _own(self, member: tarfile.TarInfo, path: str) -> None:
        if self._owners is not None:
            user, group = _owner(member.uid, self._owners), _owner(member.gid, self._owners)
            os.chown(self._tree.place(path), user, group, follow_symlinks=False)


def _copy(source: IO[bytes], target: IO[bytes] | None, size: int, member: tarfile.TarInfo) -> None:
    while size:
        data = source.read(min(size, _PIECE))
        if not data:
            raise Hostile(f"{shown(member.name)} is cut short")
        if target is not None:
            target.write(data)
        size -= len(data)


def highest_owner() -> int | None:
    """The highest number of a user to whom this process may give files of images; None: to none but its own.

    No function ever runs as one of these users.
    """
    if os.geteuid() != 0:
        return None
    known = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    if known <= _HIGHEST_OWNER:
        return None
    return _HIGHEST_OWNER if known > _HIGHEST_OWNER + 1 else _HIGHEST_OF_FEW


def _parts(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Where a file's bytes are; the rest are zeros."""
    pieces: list[tuple[int, int]] | None = member.sparse  # type: ignore[assignment]
    if pieces is None:
        return [(0, member.size)] if member.size else []
    if len(pieces) > _MOST_PARTS:
        raise Hostile(f"{shown(member.name)} is in more than {_MOST_PARTS} pieces")
    parts = [(start, size) for start, size in pieces if size]
    end = 0
    for start, size in parts:
        if start < end or size < 0 or start + size > member.size:
            raise Hostile(f"the pieces of {shown(member.name)} do not fit it")
        end = start + size
    return parts


def _mode(member: tarfile.TarInfo, *, at_least: int) -> int:
    """Permissions without setuid and setgid; the sticky bit has a meaning for folders only."""
    return (member.mode & (0o1777 if member.isdir() else 0o777)) | at_least


def _owner(number: int, highest: int) -> int:
    return number if 0 <= number <= highest else _NOBODY


def _times(member: tarfile.TarInfo) -> tuple[float, float]:
    when = float(member.mtime)
    when = min(max(when, 0.0), float(_LATEST)) if math.isfinite(when) else 0.0
    return when, when
