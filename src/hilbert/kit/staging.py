"""Locks as files, and folders for what is not whole yet: both end with the process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from hilbert.kit.trees import NotFinished, remove_tree


@contextlib.contextmanager
def locked(path: Path, kind: int) -> Iterator[None]:
    """Hold a file's lock, `fcntl.LOCK_SH` or `LOCK_EX`; waits for it. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def stage(home: Path) -> Iterator[Path]:
    """A new empty folder in `home`, removed at the end with what is still in it. Raises `OSError`."""
    folder = home / secrets.token_hex(8)
    # Under a name that nobody looks at until it is locked.
    new = folder.with_name(f".{folder.name}")
    new.mkdir(mode=0o700)
    descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        new.rename(folder)
        yield folder
    finally:
        with contextlib.suppress(OSError):
            discard(folder)
        os.close(descriptor)


def sweep(home: Path) -> None:
    """Remove the folders in `home` whose process is no more."""
    for folder in list(home.iterdir()):
        if not folder.name.startswith("."):
            _remove_unlocked(folder)


def discard(path: Path) -> None:
    """Remove what is at `path`, whole. Absence is success. Raises `OSError`."""
    home = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                return remove_tree(path.name, dir_fd=home)
            except NotFinished:
                continue
    finally:
        os.close(home)


def _remove_unlocked(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard(folder)
        finally:
            os.close(descriptor)
