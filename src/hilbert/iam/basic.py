"""The gateway's user and password, in two files as OpenFaaS keeps them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import InvalidSettings
from hilbert.kit.files import create_file

USER_FILE: Final = "basic-auth-user"
PASSWORD_FILE: Final = "basic-auth-password"  # noqa: S105 - a file's name
DEFAULT_USER: Final = "admin"
PASSWORD_LENGTH: Final = 32

_ALPHABET: Final = string.ascii_letters + string.digits
_MOST: Final = 4096


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
            password = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))
            create_file(folder / PASSWORD_FILE, password.encode())
    except OSError as exc:
        raise InvalidSettings(f"cannot make the credentials in {folder}: {exc.strerror}") from exc
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
        raise InvalidSettings(f"{path} must hold from 1 to {_MOST} characters", hint="remove it to have a new one made")
    return text


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
