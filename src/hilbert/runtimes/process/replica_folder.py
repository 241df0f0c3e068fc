"""A replica's own folder: secrets, a few synthetic files of `/etc`, scratch space where the sandbox has none."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.runtimes.process.sandbox.contract import Occupant

_TEMPORARY: Final = ".new-"
"""Begins with a dot, as no secret's name does."""


def make_folder(occupant: Occupant, *, shared: bool) -> None:
    """Make `occupant.folder`. `shared`: the replica sees the host's file system, so its user has to get there. `OSError`."""
    folder = occupant.folder
    folder.mkdir(mode=0o700)
    for name in ("secrets", "etc", "tmp"):
        (folder / name).mkdir(mode=0o700)
    user, group = occupant.user or (os.geteuid(), os.getegid())
    (folder / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/sbin/nologin\n"
        f"app:x:{user}:{group}:app:/home/app:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
    )
    (folder / "etc" / "group").write_text(f"root:x:0:\napp:x:{group}:\nnogroup:x:65534:\n")
    for name, text in occupant.etc.items():
        (folder / "etc" / name).write_text(text)
    for file in (folder / "etc").iterdir():
        file.chmod(0o444)
    if occupant.user is not None:
        os.chown(folder / "tmp", user, group)
        if shared:
            folder.chmod(0o711)


def put_secrets(folder: Path, secrets: Mapping[str, bytes], *, user: tuple[int, int] | None) -> None:
    """Make the files in `folder/secrets` exactly these; each changes at once, whole. Raises `OSError`."""
    place = folder / "secrets"
    mode = 0o400 if user is None else 0o440
    for name, value in secrets.items():
        temporary = place / f"{_TEMPORARY}{name[:200]}"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(value)
        if user is not None:
            os.chown(temporary, -1, user[1])
        temporary.rename(place / name)
    for path in place.iterdir():
        if path.name not in secrets:
            path.unlink(missing_ok=True)
    if user is not None:
        os.chown(place, -1, user[1])
        place.chmod(0o750)


def remove_folder(folder: Path) -> None:
    """With all that is in it, whatever the function made there. Absence is success. Raises `OSError`."""
    # Folders without permissions stop nobody but their owner.
    for path, names, _ in os.walk(folder):
        for inner in (Path(path, name) for name in names):
            if not inner.is_symlink():
                with contextlib.suppress(OSError):
                    inner.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
