"""Folders as values: copied with what is safe in them, measured by content, brought to the disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from hilbert.builder.build_errors import InvalidHandler
from hilbert.kit.files import sync, sync_file_system

MOST_FILES: Final = 50_000
MOST_BYTES: Final = 2 * 1024**3
NEVER_COPIED: Final = frozenset(
    {".git", "__pycache__", ".secrets", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
"""Folders that no build gets, wherever they stand. Secrets must not get into an image."""

_FEW: Final = 64
"""Up to so many files are synced one by one; more, the whole file system at once."""


def copy_tree(source: Path, target: Path, *, skip: Collection[str] = NEVER_COPIED, top: Collection[str] = ()) -> None:
    """Copy what is in `source` into `target`, which may be there already.

    Files get mode 0644, or 0755 when executable. Links are copied as links if they stay inside `source`. Names in `skip`
    are left out everywhere, those in `top` at the top only. Raises `InvalidHandler` for a link that leads out, for
    anything that is no file, folder or link, and for too much. Raises `OSError`.
    """
    root = Path(os.path.realpath(source))
    size = 0
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    for files, (relative, entry) in enumerate(_walk(root, skip=skip, top=top)):
        place = target / relative
        info = entry.stat(follow_symlinks=False)
        size += info.st_size
        if files >= MOST_FILES or size > MOST_BYTES:
            raise InvalidHandler(
                f"{source} holds more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB",
                hint="is this the right folder? its subfolders 'build', 'template' and '.git' are left out",
            )
        if stat.S_ISLNK(info.st_mode):
            _copy_link(root, relative, entry, place)
        elif stat.S_ISDIR(info.st_mode):
            place.mkdir(mode=0o755, exist_ok=True)
        elif stat.S_ISREG(info.st_mode):
            if place.is_symlink() or place.exists():
                place.unlink()
            shutil.copyfile(entry.path, place, follow_symlinks=False)
            place.chmod(0o755 if info.st_mode & 0o111 else 0o644)
        else:
            raise InvalidHandler(f"{entry.path} is not a file, a folder or a link", hint="remove it from the folder")


def check_tree(source: Path) -> None:
    """Raises `InvalidHandler` for what `copy_tree` would refuse."""
    root = Path(os.path.realpath(source))
    for relative, entry in _walk(root, skip=NEVER_COPIED, top=()):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            _target_inside(root, relative, entry)
        elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise InvalidHandler(f"{entry.path} is not a file, a folder or a link", hint="remove it from the folder")


def digest_tree(folder: Path) -> str:
    """`sha256:` and the digest over sorted paths, kinds, executable bits and contents; compiled Python left out."""
    total = hashlib.sha256()
    for relative, entry in sorted(
        _walk(folder, skip={"__pycache__"}, top=()), key=lambda found: os.fsencode(str(found[0]))
    ):
        info = entry.stat(follow_symlinks=False)
        name = os.fsencode(str(relative))
        if stat.S_ISLNK(info.st_mode):
            kind, content = b"link", hashlib.sha256(bytes(Path(entry.path).readlink())).digest()
        elif stat.S_ISDIR(info.st_mode):
            kind, content = b"folder", b""
        else:
            kind = b"program" if info.st_mode & 0o111 else b"file"
            with open(entry.path, "rb") as file:  # noqa: PTH123 - an entry's path is a string
                content = hashlib.file_digest(file, "sha256").digest()
        total.update(b"%d %s %d %s %s" % (len(name), name, len(kind), kind, content))
    return f"sha256:{total.hexdigest()}"


def size_of(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(
        entry.stat(follow_symlinks=False).st_size for _, entry in _walk(folder, skip=(), top=()) if entry.is_file()
    )


def sync_tree(folder: Path) -> None:
    """Return once the folder with all in it is on the disk. Raises `OSError`."""
    entries = []
    for _, entry in _walk(folder, skip=(), top=()):
        entries.append(entry.path)
        if len(entries) > _FEW:
            return sync_file_system(folder)
    for path in [*entries, str(folder)]:
        if not os.path.islink(path):  # noqa: PTH114 - as above
            sync(path)
    return None


def remove_tree(folder: Path) -> None:
    """Remove a folder, also one with parts that are read-only. Absence is success."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o700)  # noqa: PTH101 - as above
        shutil.rmtree(folder)


def _walk(root: Path, *, skip: Collection[str], top: Collection[str]) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    """Everything below `root` with its relative path, folders before what is in them. Links are not followed."""
    pending = [Path()]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name in skip or (folder == Path() and entry.name in top):
                continue
            relative = folder / entry.name
            yield relative, entry
            if entry.is_dir(follow_symlinks=False):
                pending.append(relative)


def _copy_link(root: Path, relative: Path, entry: os.DirEntry[str], place: Path) -> None:
    target = _target_inside(root, relative, entry)
    if place.is_symlink() or place.exists():
        place.unlink()
    place.symlink_to(target)


def _target_inside(root: Path, relative: Path, entry: os.DirEntry[str]) -> str:
    """The link's target, which must stay inside `root` and be relative, so that it stays there when copied."""
    target = str(Path(entry.path).readlink())
    end = Path(os.path.realpath(entry.path))
    written = os.path.normpath(root / relative.parent / target)
    if os.path.isabs(target) or not end.is_relative_to(root) or not Path(written).is_relative_to(root):  # noqa: PTH117 - as above
        raise InvalidHandler(
            f"the link {root / relative} leads out of its folder, to {target}",
            hint="copy what it names into the folder, or name it below 'configuration: copy:' of the stack file",
        )
    return target
