"""Who asks: credentials become a `Caller` here and go no further. Pages of other origins are turned away here, too."""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from hilbert.api import browser
from hilbert.api.problems import Refusal
from hilbert.core.addresses import source_of
from hilbert.core.identity import ADMINISTRATOR, NOBODY, Caller
from hilbert.iam.basic import Password
from hilbert.iam.federation import Federation, is_jwt
from hilbert.iam.guesses import WrongGuesses
from hilbert.iam.jose import BadToken, Expired
from hilbert.iam.token_store import TokenStore

_MOST: Final = 8192
_CHALLENGE: Final = 'Basic realm="Restricted"'
_NO_CHALLENGE: Final = 'Hilbert realm="Restricted"'
"""A scheme that no browser knows: a browser that once asked for the password would add it to whatever pages ask for."""


class Door:
    """Tells callers by their credentials. Without a password to ask for, everybody is the administrator."""

    def __init__(
        self,
        credentials: Password | None,
        tokens: TokenStore | None = None,
        federation: Federation | None = None,
        *,
        hosts: frozenset[str] = frozenset(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hosts` are names, besides those that nobody else can have, under which a gateway without a password answers."""
        self._credentials = credentials
        self._tokens = tokens
        self._federation = federation
        self._hosts = hosts if credentials is None else None
        self._now = now
        self._guesses = WrongGuesses()

    def admit(self, method: str, headers: Mapping[str, str], *, public: bool) -> Caller:
        """The caller; `NOBODY` on public paths, where no credentials are looked at.

        Raises `Refusal`: 400 and 421 for a wrong `Host`, 401 without valid credentials where they are needed, 429 after
        many wrong ones, 403 and 415 for what a browser sends that only a foreign page would.
        """
        browser.check_host(headers, known=self._hosts)
        if public:
            return NOBODY
        caller = self.identify(headers)
        if caller is NOBODY:
            challenge = _NO_CHALLENGE if browser.is_browser(headers) else _CHALLENGE
            text = "invalid credentials"
            raise Refusal(401, "unauthenticated", text, text=text, headers={"WWW-Authenticate": challenge})
        browser.check_origin(method, headers)
        browser.check_body(method, headers)
        return caller

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """Who brings these credentials, also to a public path; `NOBODY` without valid credentials. Raises `Refusal` (429) while the source of wrong ones has to wait."""
        if self._credentials is None:
            return ADMINISTRATOR
        given = headers.get("authorization", "")
        if not given:
            return NOBODY
        # The workers are the only ones that connect here, and set this to the address of whoever connected to them.
        source = source_of(headers.get("x-forwarded-for", "")) or "unknown"
        now = self._now()
        if (wait := self._guesses.wait(source, now)) > 0:
            seconds = math.ceil(wait)
            raise Refusal(
                429,
                "rate-limited",
                f"too many wrong passwords from this address; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
        try:
            caller = self._prove(self._credentials, given)
        except Expired:
            return NOBODY  # No guess: it was good once, and its holder may not have noticed.
        if caller is NOBODY:
            self._guesses.failed(source, now)
        return caller

    def _prove(self, credentials: Password, authorization: str) -> Caller:
        """The password, or a token: as bearer, or as a password with its name as the user. Raises `Expired`."""
        scheme, _, given = authorization.partition(" ")
        scheme, given = scheme.lower(), given.strip()
        if len(given) > _MOST:
            return NOBODY
        if scheme == "bearer" and self._federation is not None and is_jwt(given):
            try:
                return self._federation.identify(given)
            except Expired:
                raise
            except BadToken:
                return NOBODY
        if scheme == "bearer":
            token = self._tokens.prove(given) if self._tokens is not None else None
        elif scheme == "basic" and (pair := _decode(given)) is not None:
            user, password = pair
            if credentials.match(user, password):
                return ADMINISTRATOR
            token = self._tokens.prove(password, name=user) if self._tokens is not None else None
        else:
            return NOBODY
        return token.caller() if token is not None else NOBODY


def _decode(encoded: str) -> tuple[str, str] | None:
    """User and password of basic authentication (RFC 7617); None for what is none."""
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
