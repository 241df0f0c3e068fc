"""A replica's own folder: secrets, a few synthetic files of `/etc`, scratch space where the sandbox has none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.kit.trees import remove_tree

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY: Final = ".new-"
"""Begins with a dot, as no secret's name does."""


def make_folder(folder: Path, *, owner: tuple[int, int] | None, etc: Mapping[str, str], shared: bool = False) -> None:
    """Make `folder` for a replica that runs as `owner` (None: as this user), with the files of `etc` in it.

    `shared`: the replica sees the host's file system, so its user has to get there. Raises `OSError`.
    """
    folder.mkdir(mode=0o700)
    for name in ("secrets", "etc", "tmp"):
        (folder / name).mkdir(mode=0o700)
    for name, text in etc.items():
        (folder / "etc" / name).write_text(text)
    for file in (folder / "etc").iterdir():
        file.chmod(0o444)
    if owner is not None:
        os.chown(folder / "tmp", *owner)
        if shared:
            folder.chmod(0o711)


def rewrite_folder(
    folder: Path, *, owner: tuple[int, int] | None, etc: Mapping[str, str], shared: bool = False
) -> None:
    """Make a folder that was made for nobody what `make_folder` would have made. Raises `OSError`.

    The files of `etc` are those that are there, with another text: a sandbox shows them already.
    """
    for name, text in etc.items():
        file = folder / "etc" / name
        file.chmod(0o644)
        file.write_text(text)
        file.chmod(0o444)
    if owner is not None:
        os.chown(folder / "tmp", *owner)
        if shared:
            folder.chmod(0o711)


def put_secrets(
    folder: Path,
    secrets: Mapping[str, bytes],
    *,
    user: tuple[int, int] | None,
    everyone: bool = False,
    keep: bool = False,
) -> None:
    """Make the files in `folder/secrets` exactly these, or with `keep` these beside others; each changes at once, whole.

    `everyone` may read them who gets there: the folder above is closed, and is not what the replica sees. Raises `OSError`, among them `FileNotFoundError` when the replica is gone.
    """
    mode = 0o444 if everyone else 0o400 if user is None else 0o440
    place = os.open(folder / "secrets", _FOLDER)
    try:
        for name, value in secrets.items():
            temporary = f"{_TEMPORARY}{name[:200]}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=place)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=place)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                if user is not None and not everyone:
                    os.fchown(descriptor, -1, user[1])
                file.write(value)
            os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
        for name in os.listdir(place):  # noqa: PTH208 - a descriptor
            if name not in secrets and not (keep and not name.startswith(_TEMPORARY)):
                os.unlink(name, dir_fd=place)
        if everyone:
            os.fchmod(place, 0o755)
        elif user is not None:
            os.fchown(place, -1, user[1])
            os.fchmod(place, 0o750)
    finally:
        os.close(place)


def remove_secrets(folder: Path) -> None:
    """Before anything else of a replica that has ended: the rest may take long. Absence is success. Raises `OSError`."""
    try:
        top = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return
    try:
        remove_tree("secrets", dir_fd=top)
    finally:
        os.close(top)
