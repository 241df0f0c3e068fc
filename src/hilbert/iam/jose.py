"""JSON web tokens from strangers: taken apart strictly, then believed or not (RFC 7515, 7519, 8725).

What is read before a signature has been checked is bounded in bytes and depth, and ambiguous JSON is refused: two readers
of one text must not see two tokens. Keys come from whoever the token says it is from, never from the token itself: the
headers `jku`, `jwk`, `x5u` and `x5c` are not looked at.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hilbert.core.errors import HilbertError, Unsupported

MAX_TOKEN: Final = 16 * 1024
"""Bytes of a token."""
MAX_DEPTH: Final = 16
"""Levels of maps and lists in one."""
MAX_KID: Final = 256
MAX_KEYS: Final = 100
"""Keys of one issuer."""
LEEWAY: Final = 30.0
"""Seconds by which two clocks may differ."""
_END_OF_TIME: Final = float(2**43)
_RSA_BITS: Final = (2048, 8192)
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


class BadToken(HilbertError):
    """A token that is not believed. The message is for whoever sent it."""

    code = "invalid"


class Expired(BadToken):
    """It was good once."""

    code = "invalid"


class Parsed(msgspec.Struct, frozen=True):
    """A token whose signature nobody has looked at yet."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def alg(self) -> str:
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        return self.header.get("kid")

    def __repr__(self) -> str:
        return f"Parsed({dict(self.header)!r})"


class VerifyKey:
    """A public key, with the only algorithms that it may be used with."""

    def __init__(self, key: Any, algorithms: Sequence[str], kid: str) -> None:
        self.key = key
        self.algorithms = tuple(algorithms)
        self.kid = kid

    def __repr__(self) -> str:
        return f"VerifyKey({self.kid!r}, {self.algorithms!r})"


def take_apart(text: str) -> Parsed:
    """Raises `BadToken`."""
    if len(text) > MAX_TOKEN:
        raise BadToken(f"the token is longer than {MAX_TOKEN} bytes")
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        raise BadToken("that is not a signed JSON web token")
    header, claims = _json(parts[0], "header"), _json(parts[1], "claims")
    _decoded(parts[2], "signature")
    if not isinstance(header.get("alg"), str):
        raise BadToken("the token's header names no algorithm")
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise BadToken(f"the token's key id must be a text of at most {MAX_KID} characters")
    if "crit" in header:
        raise BadToken("the token demands extensions (crit) that are not known here")
    if header.get("b64") is False or "zip" in header or "enc" in header:
        raise BadToken("the token is not a plain signed one")
    return Parsed(text, header, claims)


def check_signature(token: Parsed, key: VerifyKey) -> None:
    """Raises `BadToken`, and `Unsupported` where the library is missing."""
    jwt = library()
    if token.alg not in key.algorithms:
        raise BadToken(f"the algorithm {token.alg[:20]!r} does not match the issuer's key")
    try:
        jwt.decode(
            token.text,
            key.key,
            algorithms=[token.alg],
            options=dict.fromkeys(_LEFT_TO_US, False),
        )
    except jwt.PyJWTError as exc:
        raise BadToken("the token's signature is wrong") from exc


_LEFT_TO_US: Final = ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti")
"""Claims are checked by `check_times` and by whoever knows the issuer, on what was parsed strictly."""


def check_times(claims: Mapping[str, Any], now: float) -> float:
    """When the token ends, in seconds since 1970. Raises `BadToken`, and `Expired` for one that was good once."""
    end = _time(claims, "exp")
    if end is None:
        raise BadToken("the token never ends: it has no claim exp")
    for name in ("nbf", "iat"):
        begin = _time(claims, name)
        if begin is not None and begin > now + LEEWAY:
            raise BadToken(f"the token is from the future ({name}); is a clock wrong?")
    if end <= now - LEEWAY:
        raise Expired("the token has expired")
    return end


def audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    """Whom the token is for: one text or a list of them; none for anything else."""
    found = claims.get("aud")
    several: list[Any] = found if isinstance(found, list) else [found]
    return frozenset(several) if all(isinstance(one, str) for one in several) else frozenset()


def read_document(data: bytes) -> Mapping[str, Any]:
    """A JSON object of an issuer. Raises `BadToken`."""
    return _loads(data, "document")


def read_keys(document: bytes) -> dict[str, VerifyKey]:
    """The keys of a JWK set (RFC 7517) that can verify, by id; one without an id has the id "".

    Keys of other kinds and uses are passed over. Raises `BadToken` for what is no key set, has too many keys, or two with
    one id, and `Unsupported` where the library is missing.
    """
    jwt = library()
    found = _loads(document, "key set").get("keys")
    if not isinstance(found, list) or len(found) > MAX_KEYS:
        raise BadToken(f"the issuer's key set must have a list of at most {MAX_KEYS} keys")
    keys: dict[str, VerifyKey] = {}
    for one in found:
        algorithms = _algorithms(one) if isinstance(one, dict) else ()
        if not algorithms:
            continue
        kid = one.get("kid", "")
        if not isinstance(kid, str) or len(kid) > MAX_KID:
            raise BadToken("a key of the issuer has no usable id")
        if kid in keys:
            raise BadToken("two keys of the issuer have the same id")
        try:
            key = jwt.PyJWK({**one, "alg": algorithms[0]}).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue  # A key that cannot be one.
        if _is_strong(key):
            keys[kid] = VerifyKey(key, algorithms, kid)
    return keys


def library() -> Any:
    """The module `jwt`. Raises `Unsupported` where it is missing."""
    try:
        import cryptography  # noqa: F401 - PyJWT does without, and then knows no public keys
        import jwt
    except ImportError as exc:
        raise Unsupported(
            "single sign-on needs PyJWT and cryptography, which are not installed",
            hint="install Hilbert with its extra: pip install '.[sso]' in a clone of its repository",
        ) from exc
    return jwt


def _algorithms(key: Mapping[str, Any]) -> tuple[str, ...]:
    """What a key may be used with; by its type alone, so that no token can choose another. Never a shared secret."""
    if key.get("use", "sig") != "sig":
        return ()
    uses = key.get("key_ops")
    if uses is not None and not (isinstance(uses, list) and "verify" in uses):
        return ()
    kind, curve = key.get("kty"), key.get("crv")
    if kind == "RSA":
        possible: tuple[str, ...] = _RSA
    elif kind == "EC" and curve in _CURVES:
        possible = (_CURVES[curve],)
    elif kind == "OKP" and curve == "Ed25519":
        possible = ("EdDSA",)
    else:
        return ()
    named = key.get("alg")
    return possible if named is None else tuple(one for one in possible if one == named)


def _is_strong(key: Any) -> bool:
    bits = getattr(key, "key_size", None)
    kind = type(key).__name__.lower()
    return "private" not in kind and ("rsa" not in kind or (bits is not None and _RSA_BITS[0] <= bits <= _RSA_BITS[1]))


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _END_OF_TIME:
        raise BadToken(f"the token's claim {name} is no time")
    return float(value)


def _json(part: str, what: str) -> dict[str, Any]:
    return _loads(_decoded(part, what), f"token's {what}")


def _decoded(part: str, what: str) -> bytes:
    """Base64url without padding, in the only spelling that there is of it."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadToken(f"the token's {what} is not base64url") from exc
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise BadToken(f"the token's {what} is not base64url")
    return data


def _loads(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object without a name twice, without NaN, not too deep. Raises `BadToken`."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as exc:
        raise BadToken(f"the {what} is not a plain JSON object") from exc
    if not isinstance(found, dict):
        raise BadToken(f"the {what} is not a plain JSON object")
    if _depth(found) > MAX_DEPTH:
        raise BadToken(f"the {what} is nested too deeply")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _constant(text: str) -> float:
    raise ValueError(text)


def _depth(value: object) -> int:
    """Levels of maps and lists. Goes level by level, so that it cannot itself go too deep."""
    level, depth = [value], 0
    while level:
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        if not any(isinstance(one, (dict, list)) for one in level):
            return depth
        level, depth = inner, depth + 1
    return depth
