"""Tokens of the gateway's own: made with a role in some namespaces, shown once, kept as hashes.

A token is `hilbert_ID_SECRET`. The secret has 256 random bits, so a plain hash of it cannot be guessed back.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final

import msgspec

from hilbert.core.identity import Caller
from hilbert.core.values import NamespaceName
from hilbert.iam.roles import Role, grants_of

PREFIX: Final = "hilbert_"
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_MOST: Final = 256


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept. What whoever has it sends cannot be made of this."""

    id: str
    name: str
    """Of the owner's choice, and not unique; the user name where it is sent as a password."""
    role: Role
    namespaces: tuple[NamespaceName, ...]
    digest: bytes
    """SHA-256 of the secret."""
    created_at: datetime
    created_by: str
    """Identity of the caller that made it."""
    expires_at: datetime | None = None
    last_used: datetime | None = None

    def __repr__(self) -> str:
        return f"Token({self.id}, {self.name!r})"

    def is_live(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at

    def caller(self) -> Caller:
        claims = {"name": self.name, "role": self.role.value, "namespaces": list(self.namespaces)}
        return Caller(identity=f"token:{self.id}", claims=claims, grants=grants_of(self.role, self.namespaces))


class Minted(msgspec.Struct, frozen=True):
    """A new token and, for the only time, its text."""

    token: Token
    text: str

    def __repr__(self) -> str:
        return f"Minted({self.token!r})"


def mint(
    name: str,
    role: Role,
    namespaces: tuple[NamespaceName, ...],
    *,
    by: str,
    now: datetime,
    expires_at: datetime | None = None,
) -> Minted:
    """Make a token."""
    number, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    token = Token(
        id=number,
        name=name,
        role=role,
        namespaces=namespaces,
        digest=_digest(secret),
        created_at=now,
        created_by=by,
        expires_at=expires_at,
    )
    return Minted(token, f"{PREFIX}{number}_{secret}")


def take_apart(text: str) -> tuple[str, str] | None:
    """Id and secret of a token's text; None for what cannot be one."""
    if not text.startswith(PREFIX) or len(text) > _MOST or not text.isascii():
        return None
    number, _, secret = text.removeprefix(PREFIX).partition("_")
    return (number, secret) if number and secret else None


def proves(secret: str, token: Token) -> bool:
    """Whether the secret is the token's, in a time that does not tell how much of it is."""
    return hmac.compare_digest(_digest(secret), token.digest)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
