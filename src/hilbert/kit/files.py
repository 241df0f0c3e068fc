"""Files that appear whole or not at all, also when the machine stops in between. The one place that does this."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_file(
    path: Path, data: bytes, *, mode: int = 0o600, keep_mode: bool = False, dir_fd: int | None = None
) -> None:
    """Replace the file at `path` in one step. It, and its name, are on the disk when this returns.

    It has exactly `mode`, whatever the umask, and with `keep_mode` the permissions of the file it replaces, if there is
    one. A link at `path` is replaced, not followed. With `dir_fd`, `path` is relative to that open folder, so that
    nobody can swap a folder on the way. Raises `OSError`, and then the old file is still there.
    """
    with _draft(path, data, mode=_mode_of(path, dir_fd) or mode if keep_mode else mode, dir_fd=dir_fd) as draft:
        os.replace(draft, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    _sync_parent(path, dir_fd)


def create_file(path: Path, data: bytes, *, mode: int = 0o600, dir_fd: int | None = None) -> bool:
    """As `write_file`, but a file that is there stays as it is. Returns whether this call made it. Raises `OSError`."""
    with _draft(path, data, mode=mode, dir_fd=dir_fd) as draft:
        try:
            os.link(draft, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            made = True
        except FileExistsError:
            made = False
    _sync_parent(path, dir_fd)
    return made


def sync(path: str | Path, *, dir_fd: int | None = None) -> None:
    """Return once this file, or the list of names in this folder, is on the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Return once all on the folder's file system is on the disk, `syncfs(2)`. Raises `OSError`.

    Thousands of files one by one would take many times longer.
    """
    import ctypes  # Most processes that use this module do without it.

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _draft(path: Path, data: bytes, *, mode: int, dir_fd: int | None) -> Iterator[Path]:
    """A synced file with `data` beside `path`, gone after the block unless it was renamed."""
    draft = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=dir_fd
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=dir_fd)


def _mode_of(path: Path, dir_fd: int | None) -> int:
    try:
        return os.stat(path, dir_fd=dir_fd).st_mode & 0o777
    except FileNotFoundError:
        return 0


def _sync_parent(path: Path, dir_fd: int | None) -> None:
    sync(path.parent, dir_fd=dir_fd)
