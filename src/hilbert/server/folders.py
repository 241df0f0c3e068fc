"""The platform's folders: made private, checked before use, held by one supervisor at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from hilbert.core.errors import HilbertError, InvalidSettings, StorageFull
from hilbert.core.settings import PathSettings

_LONGEST_SOCKET_PATH = 107
"""Bytes in `sun_path`, less the closing NUL (`unix(7)`)."""

_REPLICA_SOCKET = len("/r/0123456789abcdef0123456789abcdef/s")
"""The longest path below the run folder, at which a replica listens."""

_INNER = ("auth", "images", "logs", "oci", "queue")
"""Folders in the state folder; each is made when it is first needed."""

STOPPED = "stopped.json"
"""In the state folder: what the last stop had to cut off, for `hilbert down` to show."""


class AlreadyRunning(HilbertError):
    """Another supervisor holds the state folder."""

    code = "already-running"


def prepare(paths: PathSettings) -> None:
    """Make both folders, or check that they are private and ours. Raises `InvalidSettings` and `StorageFull`."""
    longest = len(os.fsencode(paths.run_dir)) + _REPLICA_SOCKET
    if longest > _LONGEST_SOCKET_PATH:
        raise InvalidSettings(
            f"paths.run_dir: {paths.run_dir} is {longest - _LONGEST_SOCKET_PATH} bytes too long for the sockets in it",
            hint="set HILBERT_RUN_DIR to a short path",
        )
    for key, folder in (("paths.state_dir", paths.state_dir), ("paths.run_dir", paths.run_dir)):
        _private(key, Path(folder))
    for name in _INNER:
        inner = Path(paths.state_dir, name)
        if os.path.lexists(inner) and not inner.is_dir():
            raise InvalidSettings(
                f"{inner} is damaged: it is not a folder", hint="move it away, and restore the folder from a backup"
            )


def _private(key: str, folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
            raise InvalidSettings(
                f"{key}: {folder} is not a folder that belongs to this user", hint="remove it or name another"
            )
        if seen.st_mode & 0o077:
            folder.chmod(0o700)
    except FileExistsError as exc:
        raise InvalidSettings(f"{key}: {folder} is not a folder") from exc
    except OSError as exc:
        raise StorageFull(f"{key}: cannot make {folder}: {exc.strerror}") from exc


def lock_both(paths: PathSettings) -> tuple[int, ...]:
    """Hold both folders until the returned descriptors are closed. Raises `AlreadyRunning` and `StorageFull`.

    Two gateways with different state on one run folder would take each other's sockets away.
    """
    state = lock(Path(paths.state_dir), "paths.state_dir")
    if Path(paths.run_dir).samefile(paths.state_dir):
        return (state,)
    try:
        return state, lock(Path(paths.run_dir), "paths.run_dir")
    except BaseException:
        os.close(state)
        raise


def lock(folder: Path, key: str) -> int:
    """Hold a folder until the returned descriptor is closed. Raises `AlreadyRunning` and `StorageFull`."""
    try:
        descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageFull(
            f"{key}: {folder} cannot be written: {exc.strerror}",
            hint=f"make it writable for this user, or name another folder with the setting {key}",
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise AlreadyRunning(
            f"a gateway already runs on {folder}" + (f" (pid {holder})" if holder else ""),
            hint=f"'hilbert status' shows it, 'hilbert down' stops it, the setting {key} names another folder",
        ) from exc
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as exc:
        os.close(descriptor)
        raise StorageFull(f"{key}: cannot write {folder / 'lock'}: {exc.strerror}") from exc
    return descriptor
