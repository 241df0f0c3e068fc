"""Tokens that open functions: how one is checked, by the gateway's workers and by watchdogs (OpenFaaS facts 10.3).

Refusals are in OpenFaaS's words, as its watchdogs say them. A watchdog imports this, so it imports little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

REALM: Final = "Bearer realm=IAM function invoke"
"""What a refusal with 401 asks for. Clients of OpenFaaS then get a token for the function, and call again."""
ABSENT: Final = "Bearer must be present in Authorization header"
FORBIDDEN: Final = "insufficient permissions"
MAX_HEADER: Final = 8192
"""Bytes of an Authorization header."""
REMEMBERED: Final = 60.0
"""Seconds for which a token that was checked is not checked again."""
LEEWAY: Final = 1
"""Seconds by which clocks may differ."""
ALGORITHM: Final = "ES256"
_CHECKED_HERE: Final = (
    "verify_exp",
    "verify_nbf",
    "verify_iat",
    "verify_aud",
    "verify_iss",
    "verify_sub",
    "verify_jti",
)


class FunctionToken(NamedTuple):
    """One that is good."""

    until: float
    """Seconds since 1970. It must be checked again from then on."""
    permissions: tuple[str, ...]
    audience: tuple[str, ...]
    """Empty: everything that it is permitted."""
    identity: str
    """Of whoever it was made for, as the REST API knows it."""

    def opens(self, namespace: str, name: str) -> bool:
        about = f"{namespace}:{name}"
        permitted = any(_matches(pattern, about) for pattern in self.permissions)
        return permitted and (not self.audience or any(_matches(pattern, about) for pattern in self.audience))


def check(text: str, keys: Mapping[str, Mapping[str, Any]], issuer: str, *, now: float) -> FunctionToken:
    """Check a token's signature, and then what it claims. `keys` are public ones by their id (RFC 7517).

    Raises `ValueError` with a reason that may be shown, and `ImportError` where PyJWT is missing.
    """
    import jwt  # Most processes never see such a token.

    try:
        kid = jwt.get_unverified_header(text).get("kid")
        jwk = keys.get(kid) if isinstance(kid, str) else None
        if jwk is None:
            raise ValueError("its key is not known")
        key = jwt.PyJWK(dict(jwk), algorithm=ALGORITHM).key
        options: Any = dict.fromkeys(_CHECKED_HERE, False)
        claims = jwt.decode(text, key, algorithms=[ALGORITHM], options=options)
    except jwt.PyJWTError as exc:
        raise ValueError((str(exc) or type(exc).__name__)[:120]) from exc
    except ValueError:
        raise
    except Exception as exc:  # Whatever a stranger's token makes a library do, it is refused.
        raise ValueError("it is not valid") from exc
    return read_claims(claims, issuer, now=now)


def read_claims(claims: Mapping[str, Any], issuer: str, *, now: float) -> FunctionToken:
    """What the claims of a token say whose signature is right. Raises `ValueError` with a reason that may be shown."""
    for name in ("exp", "iat", "iss", "aud", "sub"):
        if name not in claims:
            raise ValueError(f"it has no claim {name}")
    if claims["iss"] != issuer or not issuer:
        raise ValueError("its issuer is not this gateway")
    audience = claims["aud"]
    if issuer not in (audience if isinstance(audience, list) else [audience]):
        raise ValueError("it is for somebody else (aud)")
    if not isinstance(claims["sub"], str):
        raise ValueError("its subject is not text")  # noqa: TRY004 - of a token
    for name in ("iat", "nbf"):
        if name in claims and not _moment(claims[name]) <= now + LEEWAY:
            raise ValueError(f"it is from the future ({name})")
    end = _moment(claims["exp"])
    if not now < end + LEEWAY:
        raise ValueError("it has expired")
    until, identity = min(end + LEEWAY, now + REMEMBERED), _identity(claims, issuer)
    function = claims.get("function")
    if not isinstance(function, dict):
        return FunctionToken(until, (), (), identity)
    permissions, narrowed = _texts(function.get("permissions")), _texts(function.get("audience"))
    if "audience" in function and not narrowed:
        permissions = ()
    return FunctionToken(until, permissions, narrowed, identity)


def _moment(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise ValueError("its times are not numbers")  # noqa: TRY004 - of a value
    return float(given) if abs(given) < 2**53 else float("nan")


def _identity(claims: Mapping[str, Any], issuer: str) -> str:
    """The issuer of the token that it was made of and the subject there; one of the gateway's own tokens stands alone."""
    source, subject = claims.get("fed:iss"), claims["sub"]
    assert isinstance(subject, str)  # noqa: S101 - checked before
    if not isinstance(source, str) or source == issuer:
        return subject
    return f"{source}|{subject.removeprefix('fed:')}"


def _texts(given: object) -> tuple[str, ...]:
    return tuple(one for one in given if isinstance(one, str)) if isinstance(given, list) else ()


def _matches(pattern: str, about: str) -> bool:
    """`*`, `NAMESPACE:*` or `NAMESPACE:FUNCTION`, each part whole: `dev:env` is not `mydev:env2`."""
    if pattern == "*":
        return True
    namespace, colon, name = pattern.partition(":")
    return bool(colon) and about.startswith(f"{namespace}:") and name in ("*", about.partition(":")[2])
