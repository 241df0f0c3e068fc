"""Removing a folder in which somebody else could make what they liked, perhaps still does, and perhaps with root's rights.

Every name is looked up in an open folder and no link is followed, so that nothing outside can be reached, whatever is
swapped meanwhile. Folders inside are moved up to the first level before they are emptied: two descriptors are enough for
any depth. Permissions are changed on an open folder only, and never as root, which does not need it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import Final

STEPS: Final = 100_000
"""Entries that are removed in one go: some seconds."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASSAGE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVED: Final = ".moved-"


class NotFinished(Exception):
    """There is more than one go removes. What was removed stays removed: another go continues."""


def remove_tree(name: str, *, dir_fd: int, steps: int = STEPS) -> None:
    """Remove the file, link or folder `name` in the open folder. Absence is success. Blocks.

    Raises `NotFinished` after so many steps, and `OSError` for what cannot be removed.
    """
    if _remove_one(name, dir_fd):
        return
    left = steps
    while True:
        try:
            top = _open(name, dir_fd)
        except FileNotFoundError:
            return
        try:
            left = _flatten(top, left)
        finally:
            os.close(top)
        with contextlib.suppress(FileNotFoundError):
            try:
                os.rmdir(name, dir_fd=dir_fd)
            except OSError as exc:
                if exc.errno != errno.ENOTEMPTY or left <= 0:  # Somebody adds to it still.
                    raise
                continue
        return


def _flatten(top: int, left: int) -> int:
    """Remove all in `top`; how many steps are left."""
    while names := os.listdir(top):
        for name in names:
            left = _spend(left)
            if _remove_one(name, top):
                continue
            try:
                folder = _open(name, top)
            except FileNotFoundError:
                continue
            try:
                left = _empty(folder, top, left)
            finally:
                os.close(folder)
            try:
                os.rmdir(name, dir_fd=top)
            except FileNotFoundError:
                continue
            except OSError as exc:
                if exc.errno != errno.ENOTEMPTY:
                    raise
    return left


def _empty(folder: int, top: int, left: int) -> int:
    """Remove the files of `folder`, and move its folders up to `top`."""
    for name in os.listdir(folder):
        left = _spend(left)
        if not _remove_one(name, folder):
            with contextlib.suppress(FileNotFoundError):
                if os.geteuid() != 0:
                    os.close(_open(name, folder))  # Its owner cannot move it either without the right to write to it.
                os.rename(name, f"{_MOVED}{secrets.token_hex(8)}", src_dir_fd=folder, dst_dir_fd=top)
    return left


def _spend(left: int) -> int:
    if left <= 0:
        raise NotFinished("there is more to remove than is removed in one go")
    return left - 1


def _remove_one(name: str, dir_fd: int) -> bool:
    """Whether it is gone. False: it is a folder that is not empty, or must be opened first."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError) as exc:
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except FileNotFoundError:
            return True
        except NotADirectoryError:
            raise exc from None
        except OSError:
            return False
    return True


def _open(name: str, dir_fd: int) -> int:
    """The folder, with the rights to empty it. Raises `OSError`."""
    if os.geteuid() != 0:
        passage = os.open(name, _PASSAGE, dir_fd=dir_fd)
        try:
            # By its descriptor: no name of a stranger's is looked up, and what it stands for is certainly this folder.
            with contextlib.suppress(PermissionError):
                os.chmod(f"/proc/self/fd/{passage}", 0o700)  # noqa: PTH101 - what stands behind it, no path
        finally:
            os.close(passage)
    return os.open(name, _FOLDER, dir_fd=dir_fd)
