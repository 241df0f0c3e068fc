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
from typing import Any, Final

import msgspec

from hilbert.dataplane.failures import Failure
from hilbert.dataplane.feed.messages import CallKey, CallKeys

REMEMBERED: Final = 60.0
"""Seconds for which a function token that was checked is not checked again."""
MOST_REMEMBERED: Final = 4096
MAX_TOKEN: Final = 8192
"""Bytes of an Authorization header."""
MOST_FAILURES: Final = 50
"""Function tokens of one source that are refused after a check of their signature, in a second; more are not checked."""
_MOST_SOURCES: Final = 4096
_PREFIX: Final = "hilbert_"
_LEEWAY: Final = 1
_REALM: Final = (b"WWW-Authenticate", b"Bearer realm=IAM function invoke")

ABSENT: Final = Failure(
    401,
    "unauthenticated",
    "client",
    "Bearer must be present in Authorization header",
    headers=(_REALM,),
    is_of_watchdogs=True,
)
FORBIDDEN: Final = Failure(403, "forbidden", "client", "insufficient permissions", is_of_watchdogs=True)


def _unparsed(reason: str) -> Failure:
    return Failure(
        401,
        "unauthenticated",
        "client",
        f"failed to parse JWT token: {reason}",
        headers=(_REALM,),
        is_of_watchdogs=True,
    )


class _Checked(msgspec.Struct, frozen=True):
    """A function token that is good."""

    until: float
    permissions: tuple[str, ...]
    audience: tuple[str, ...]
    """Empty: everything that it is permitted."""


class Guard:
    """One process's. Knows nobody until it was told."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._issuer = ""
        self._keys: dict[str, Any] = {}
        self._tokens: dict[str, CallKey] = {}
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()
        self._failures: dict[str, int] = {}
        self._second = 0

    def learn(self, told: CallKeys) -> None:
        """Go by this from now on."""
        self._issuer = told.issuer
        self._keys = {str(jwk.get("kid")): jwk for jwk in told.keys}
        self._tokens = {key.id: key for key in told.tokens}
        self._checked.clear()

    def check(self, authorization: bytes, namespace: str, name: str, source: str) -> Failure | None:
        """Why a call with this header is refused; None if it may pass. `source` is whose call it is."""
        if not authorization or len(authorization) > MAX_TOKEN:
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

    def _by_password(self, encoded: str, namespace: str) -> Failure | None:
        """The token's name and the token, for clients that know nothing else."""
        try:
            user, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return ABSENT
        return self._by_token(token, namespace, user=user) if token.startswith(_PREFIX) else ABSENT

    def _by_token(self, text: str, namespace: str, *, user: str | None = None) -> Failure | None:
        number, _, secret = text.removeprefix(_PREFIX).partition("_")
        key = self._tokens.get(number)
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        if key is None or not hmac.compare_digest(digest, key.digest):
            return _unparsed("the token is not known")
        if (key.until and self._now() >= key.until) or (user is not None and user != key.name):
            return _unparsed("the token is not known")
        return None if key.may_call and namespace in key.namespaces else FORBIDDEN

    def _by_jwt(self, text: str, namespace: str, name: str, source: str) -> Failure | None:
        digest, now = hashlib.sha256(text.encode("latin-1")).digest(), self._now()
        found = self._checked.get(digest)
        if found is None or now >= found.until:
            if self._has_failed_too_often(source, now):
                return _unparsed("too many tokens of this address were refused")
            try:
                found = self._verify(text, now)
            except Exception as exc:  # noqa: BLE001 - whatever a stranger's token makes a library do, it is refused
                self._failures[source] = self._failures.get(source, 0) + 1
                return _unparsed(_reason(exc))
            self._checked[digest] = found
            if len(self._checked) > MOST_REMEMBERED:
                self._checked.popitem(last=False)
        about = f"{namespace}:{name}"
        permitted = any(_matches(pattern, about) for pattern in found.permissions)
        meant = not found.audience or any(_matches(pattern, about) for pattern in found.audience)
        return None if permitted and meant else FORBIDDEN

    def _has_failed_too_often(self, source: str, now: float) -> bool:
        if int(now) != self._second or len(self._failures) > _MOST_SOURCES:
            self._second = int(now)
            self._failures.clear()
        return self._failures.get(source, 0) >= MOST_FAILURES

    def _verify(self, text: str, now: float) -> _Checked:
        """Raises whatever the library does, and `ValueError`."""
        import jwt  # Most workers never see such a token.

        kid = jwt.get_unverified_header(text).get("kid")
        jwk = self._keys.get(kid) if isinstance(kid, str) else None
        if jwk is None:
            raise ValueError("its key is not known")
        claims = jwt.decode(
            text,
            jwt.PyJWK(jwk, algorithm="ES256").key,
            algorithms=["ES256"],
            audience=self._issuer,
            issuer=self._issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_exp": False},
        )
        end = claims["exp"]
        if isinstance(end, bool) or not isinstance(end, (int, float)) or not now < end + _LEEWAY:
            raise ValueError("Signature has expired")
        until = min(end + _LEEWAY, now + REMEMBERED)
        function = claims.get("function")
        if not isinstance(function, dict):
            return _Checked(until, (), ())
        permissions, audience = _texts(function.get("permissions")), _texts(function.get("audience"))
        if "audience" in function and not audience:
            permissions = ()
        return _Checked(until, permissions, audience)


def _texts(given: object) -> tuple[str, ...]:
    return tuple(one for one in given if isinstance(one, str)) if isinstance(given, list) else ()


def _matches(pattern: str, about: str) -> bool:
    """`*`, `NAMESPACE:*` or `NAMESPACE:FUNCTION`, each part whole: `dev:env` is not `mydev:env2`."""
    if pattern == "*":
        return True
    namespace, colon, name = pattern.partition(":")
    return bool(colon) and about.startswith(f"{namespace}:") and name in ("*", about.partition(":")[2])


def _reason(exc: Exception) -> str:
    return (
        (str(exc) or type(exc).__name__)[:120]
        if isinstance(exc, ValueError) or "jwt" in type(exc).__module__
        else "it is not valid"
    )
