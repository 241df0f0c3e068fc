"""Tokens and rights on the wire: Hilbert's own part of the REST API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from hilbert.core.errors import Invalid
from hilbert.core.values import Duration

MAX_NAME: Final = 63
MAX_NAMESPACES: Final = 64
MAX_LIFE: Final = timedelta(days=3660)

_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.@]*[A-Za-z0-9])?")
_DAYS: Final = re.compile(r"([0-9]{1,5})d")


class TokenRequest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """The body of a create."""

    name: str = ""
    role: str = ""
    """`invoker`, `viewer`, `deployer`, `developer` or `owner`."""
    namespaces: Sequence[str] = ()
    expires_in: str = ""
    """Days (`90d`) or a Go duration (`12h`); empty: it does not expire."""


class TokenInfo(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """A token, without what would prove it."""

    id: str
    name: str
    role: str
    namespaces: Sequence[str]
    created_at: str = ""
    """RFC 3339, as the others."""
    created_by: str = ""
    expires_at: str = ""
    last_used: str = ""


class NewToken(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The answer to a create: the only one with the token itself."""

    token: str
    info: TokenInfo

    def __repr__(self) -> str:
        return f"NewToken({self.info!r})"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /system/whoami`."""

    identity: str
    claims: Mapping[str, str | Sequence[str]] = {}
    rights: Mapping[str, Sequence[str]] = {}
    """Actions by resource."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /system/can-i`."""

    allowed: bool
    action: str
    resource: str


def check_name(name: str) -> str:
    """Raises `Invalid`."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise Invalid(
            f"name: must be 1 to {MAX_NAME} letters, digits, '-', '_', '.' and '@', alphanumeric at both ends"
        )
    return name


def life_of(text: str) -> timedelta | None:
    """How long a token lives; None for ever. Raises `Invalid`."""
    if not text:
        return None
    days = _DAYS.fullmatch(text)
    life = timedelta(days=int(days[1])) if days else timedelta(seconds=Duration.parse(text).seconds)
    if not timedelta(0) < life <= MAX_LIFE:
        raise Invalid(f"expiresIn: must be more than 0 and at most {MAX_LIFE.days}d")
    return life
