"""The gateway's user and password, in two files as OpenFaaS keeps them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from hilbert.core.errors import InvalidSettings
from hilbert.kit.files import create_file, write_file

_log = structlog.get_logger("hilbert.iam")

USER_FILE: Final = "basic-auth-user"
PASSWORD_FILE: Final = "basic-auth-password"  # noqa: S105 - a file's name
OFF_FILE: Final = "basic-auth-off"
"""While a file of this name is there, the password opens nothing."""
DEFAULT_USER: Final = "admin"
PASSWORD_LENGTH: Final = 32
LOOK_EVERY: Final = 1.0
"""Seconds after which a change of the files is in force at the latest."""

_ALPHABET: Final = string.ascii_letters + string.digits
_MOST: Final = 4096


class Password(Protocol):
    """What a user name and a password are compared with."""

    def match(self, user: str, password: str) -> bool: ...


class Credentials(msgspec.Struct, frozen=True):
    """Its `repr` never shows the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.user!r})"

    def match(self, user: str, password: str) -> bool:
        """Compares in a time that says nothing of where, or by how much, the two differ."""
        same_user = hmac.compare_digest(_digest(user), _digest(self.user))
        same_password = hmac.compare_digest(_digest(password), _digest(self.password))
        return same_user & same_password


class PasswordFolder:
    """The user and password that the files of a folder say now, so that a rotation needs no restart.

    They are looked at again at most once a second. Files that cannot be read leave the last good ones in force.
    """

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        """Raises `InvalidSettings`."""
        self._folder = folder
        self._now = now
        self._credentials = load_credentials(folder)
        self._is_on = not (folder / OFF_FILE).exists()
        self._seen = self._marks()
        self._looked_at = now()

    def match(self, user: str, password: str) -> bool:
        """As `Credentials.match`; never while the password is switched off."""
        self._look()
        if self._credentials.match(user, password) & self._is_on:
            return True
        self._look(at_once=True)  # It may have been changed just now, and whoever changed it goes on.
        return self._credentials.match(user, password) & self._is_on

    @property
    def is_on(self) -> bool:
        self._look()
        return self._is_on

    def _look(self, *, at_once: bool = False) -> None:
        now = self._now()
        if not at_once and now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        marks = self._marks()
        if marks == self._seen:
            return
        try:
            self._credentials = load_credentials(self._folder)
        except InvalidSettings as exc:
            _log.warning("the old password stays in force", reason=exc.message)
        self._is_on = not (self._folder / OFF_FILE).exists()
        self._seen = marks

    def _marks(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What differs once a file has been replaced, made or removed."""
        found: list[tuple[int, int, int] | None] = []
        for name in (USER_FILE, PASSWORD_FILE, OFF_FILE):
            try:
                state = (self._folder / name).stat()
            except OSError:
                found.append(None)
            else:
                found.append((state.st_ino, state.st_mtime_ns, state.st_size))
        return tuple(found)


def rotate_password(folder: Path) -> str:
    """Put a new password in place of the old one, in one step. Raises `OSError`."""
    password = new_password()
    write_file(folder / PASSWORD_FILE, password.encode())
    return password


def switch_password(folder: Path, *, on: bool) -> None:
    """Let the password open the gateway, or nothing. Raises `OSError`."""
    if on:
        (folder / OFF_FILE).unlink(missing_ok=True)
    else:
        create_file(folder / OFF_FILE, b"")


def new_password() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))


def load_credentials(folder: Path) -> Credentials:
    """Read both files, without the white space around their contents. Raises `InvalidSettings`."""
    return Credentials(user=_read(folder / USER_FILE), password=_read(folder / PASSWORD_FILE))


def load_or_create_credentials(folder: Path) -> Credentials:
    """As `load_credentials`, after making what is missing: the folder with mode 0700, each file with mode 0600.

    A file appears whole or not at all, also when the machine stops in between. Raises `InvalidSettings`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another process may be first; its files stay.
        if not (folder / USER_FILE).exists():
            create_file(folder / USER_FILE, DEFAULT_USER.encode())
        if not (folder / PASSWORD_FILE).exists():
            create_file(folder / PASSWORD_FILE, new_password().encode())
    except OSError as exc:
        raise InvalidSettings(f"cannot create the credentials in {folder}: {exc.strerror}") from exc
    return load_credentials(folder)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST + 1).decode().strip()
    except OSError as exc:
        raise InvalidSettings(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidSettings(f"{path} is not UTF-8 text") from exc
    if not text or len(text) > _MOST:
        raise InvalidSettings(
            f"{path} must hold from 1 to {_MOST} characters", hint="remove it, and the next start makes a new one"
        )
    return text


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
