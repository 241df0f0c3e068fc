"""Who may call functions that ask for it (`com.hilbert.auth: required`): checked here, without a question to anybody.

The control process tells each worker the gateway's tokens with the right to call (their hashes) and the public keys of the
function tokens that it issues. A change of either forgets every token that was checked, so a revocation is in force when
it is heard. Refusals are in OpenFaaS's words, as its watchdogs say them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hilbert.core import function_tokens
from hilbert.core.function_tokens import REMEMBERED, FunctionToken
from hilbert.dataplane.failures import Failure
from hilbert.dataplane.feed.messages import CallKey, CallKeys

MOST_REMEMBERED: Final = 4096
LONGEST_REMEMBERED: Final = 2048
"""Bytes of a header that is remembered as it came: spaces make as many of one token as somebody likes."""
MOST_FAILURES: Final = 50
"""Function tokens of one source that are refused after a check of their signature, in a second; more are not checked."""
_MOST_SOURCES: Final = 4096
_PREFIX: Final = "hilbert_"
_REALM: Final = (b"WWW-Authenticate", function_tokens.REALM.encode())

ABSENT: Final = Failure(
    401, "unauthenticated", "client", function_tokens.ABSENT, headers=(_REALM,), is_of_watchdogs=True
)
FORBIDDEN: Final = Failure(403, "forbidden", "client", function_tokens.FORBIDDEN, is_of_watchdogs=True)


class Admitted(NamedTuple):
    """A caller that may call the function."""

    identity: str
    """As the REST API knows it."""
    until: float
    """Seconds since 1970. It must be asked again from then on, or as soon as `Guard.told` is another."""
    is_shown: bool
    """The function may see what it came with: a function token, which opens nothing else. The gateway's own tokens stay here."""


def _unparsed(reason: str) -> Failure:
    return Failure(
        401,
        "unauthenticated",
        "client",
        f"failed to parse JWT token: {reason}",
        headers=(_REALM,),
        is_of_watchdogs=True,
    )


class Guard:
    """One process's. Knows nobody until it was told."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.told = object()
        """Another one each time that it was told something."""
        self._issuer = ""
        self._keys: dict[str, Any] = {}
        self._tokens: dict[str, CallKey] = {}
        self._passes: dict[tuple[str, str], bytes] = {}
        self._admitted: dict[tuple[bytes, str, str], Admitted] = {}
        """What was found of a header and a function, so that the same is not looked at again for each call."""
        self._checked: OrderedDict[bytes, FunctionToken] = OrderedDict()
        self._failures: dict[str, int] = {}
        self._second = 0

    def learn(self, told: CallKeys) -> None:
        """Go by this from now on."""
        self.told = object()
        self._issuer = told.issuer
        self._keys = {str(jwk.get("kid")): jwk for jwk in told.keys}
        self._tokens = {key.id: key for key in told.tokens}
        self._passes = {(one.namespace, one.name): one.token.encode() for one in told.passes}
        self._admitted.clear()
        self._checked.clear()

    def pass_for(self, namespace: str, name: str) -> bytes:
        """A token by which the function's own watchdog lets in what the gateway has let in; empty if it asks for none."""
        return self._passes.get((namespace, name), b"")

    def check(self, authorization: bytes, namespace: str, name: str, source: Callable[[], str]) -> Admitted | Failure:
        """Whether a call with this header may pass. `source` says whose call it is."""
        known = self._admitted.get((authorization, namespace, name))
        if known is not None and self.now() < known.until:
            return known
        found = self._check(authorization, namespace, name, source)
        if isinstance(found, Admitted) and len(authorization) <= LONGEST_REMEMBERED:
            if len(self._admitted) >= MOST_REMEMBERED:
                self._admitted.clear()
            self._admitted[authorization, namespace, name] = found
        return found

    def _check(self, authorization: bytes, namespace: str, name: str, source: Callable[[], str]) -> Admitted | Failure:
        if not authorization or len(authorization) > function_tokens.MAX_HEADER:
            return ABSENT
        scheme, _, text = authorization.decode("latin-1").partition(" ")
        given = text.strip()
        if scheme.lower() == "basic":
            return self._by_password(given, namespace)
        if scheme.lower() != "bearer" or not given:
            return ABSENT
        if given.startswith(_PREFIX):
            return self._by_token(given, namespace)
        return self._by_jwt(given, namespace, name, source)

    def _by_password(self, encoded: str, namespace: str) -> Admitted | Failure:
        """The token's name and the token, for clients that know nothing else."""
        user, token = _password(encoded)
        return self._by_token(token, namespace, user=user) if token.startswith(_PREFIX) else ABSENT

    def _by_token(self, text: str, namespace: str, *, user: str | None = None) -> Admitted | Failure:
        number, _, secret = text.removeprefix(_PREFIX).partition("_")
        key, now = self._tokens.get(number), self.now()
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        if key is None or not hmac.compare_digest(digest, key.digest):
            return _unparsed("the token is not known")
        if (key.until and now >= key.until) or (user is not None and user != key.name):
            return _unparsed("the token is not known")
        if not key.may_call or namespace not in key.namespaces:
            return FORBIDDEN._replace(who=f"token:{key.id}")
        until = now + REMEMBERED
        return Admitted(f"token:{key.id}", min(until, key.until) if key.until else until, is_shown=False)

    def _by_jwt(self, text: str, namespace: str, name: str, whose: Callable[[], str]) -> Admitted | Failure:
        digest, now = hashlib.sha256(text.encode("latin-1")).digest(), self.now()
        found = self._checked.get(digest)
        if found is None or now >= found.until:
            source = whose()
            if self._has_failed_too_often(source, now):
                return _unparsed("too many tokens from this address were refused")
            try:
                found = function_tokens.check(text, self._keys, self._issuer, now=now)
            except (ValueError, ImportError) as exc:
                self._failures[source] = self._failures.get(source, 0) + 1
                return _unparsed(str(exc) if isinstance(exc, ValueError) else "it is not valid")
            self._checked[digest] = found
            if len(self._checked) > MOST_REMEMBERED:
                self._checked.popitem(last=False)
        if not found.opens(namespace, name):
            return FORBIDDEN._replace(who=found.identity)
        return Admitted(found.identity, found.until, is_shown=True)

    def _has_failed_too_often(self, source: str, now: float) -> bool:
        if int(now) != self._second or len(self._failures) > _MOST_SOURCES:
            self._second = int(now)
            self._failures.clear()
        return self._failures.get(source, 0) >= MOST_FAILURES


def is_of_gateway(authorization: bytes) -> bool:
    """Whether the header carries one of the gateway's own tokens, which no function should get to see."""
    scheme, _, text = authorization.decode("latin-1").partition(" ")
    if scheme.lower() == "basic":
        return _password(text.strip())[1].startswith(_PREFIX)
    return text.strip().startswith(_PREFIX)


def _password(encoded: str) -> tuple[str, str]:
    """Both empty for what is no name and password."""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password
