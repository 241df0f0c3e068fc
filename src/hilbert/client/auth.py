"""Credentials, as they go into the `Authorization` header."""

from __future__ import annotations

import binascii
from typing import Protocol

import msgspec

from hilbert.client.arguments import check


class Auth(Protocol):
    """Anything that knows the value of an `Authorization` header."""

    def header(self) -> str: ...


class BasicAuth(msgspec.Struct, frozen=True):
    """User and password (RFC 7617)."""

    user: str
    password: str

    def __post_init__(self) -> None:
        check("user", self.user, "str")
        check("password", self.password, "str")

    def header(self) -> str:
        return "Basic " + binascii.b2a_base64(f"{self.user}:{self.password}".encode(), newline=False).decode()

    def __repr__(self) -> str:
        return f"BasicAuth({self.user!r}, ...)"


class TokenAuth(msgspec.Struct, frozen=True):
    """A bearer token (RFC 6750)."""

    token: str

    def __post_init__(self) -> None:
        check("token", self.token, "str")

    def header(self) -> str:
        return f"Bearer {self.token}"

    def __repr__(self) -> str:
        return "TokenAuth(...)"
