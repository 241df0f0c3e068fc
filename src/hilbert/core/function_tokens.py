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
    """Check a token's signature, times, issuer and audience. `keys` are public ones by their id (RFC 7517).

    Raises `ValueError` with a reason that may be shown, and `ImportError` where PyJWT is missing.
    """
    import jwt  # Most processes never see such a token.

    try:
        kid = jwt.get_unverified_header(text).get("kid")
        jwk = keys.get(kid) if isinstance(kid, str) else None
        if jwk is None:
            raise ValueError("its key is not known")
        claims = jwt.decode(
            text,
            jwt.PyJWK(dict(jwk), algorithm="ES256").key,
            algorithms=["ES256"],
            audience=issuer,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_exp": False},
        )
        return _read(claims, issuer, now)
    except jwt.PyJWTError as exc:
        raise ValueError((str(exc) or type(exc).__name__)[:120]) from exc
    except ValueError:
        raise
    except Exception as exc:  # Whatever a stranger's token makes a library do, it is refused.
        raise ValueError("it is not valid") from exc


def _read(claims: Mapping[str, Any], issuer: str, now: float) -> FunctionToken:
    end = claims["exp"]
    if isinstance(end, bool) or not isinstance(end, (int, float)) or not now < end + LEEWAY:
        raise ValueError("Signature has expired")
    until, identity = min(end + LEEWAY, now + REMEMBERED), _identity(claims, issuer)
    function = claims.get("function")
    if not isinstance(function, dict):
        return FunctionToken(until, (), (), identity)
    permissions, audience = _texts(function.get("permissions")), _texts(function.get("audience"))
    if "audience" in function and not audience:
        permissions = ()
    return FunctionToken(until, permissions, audience, identity)


def _identity(claims: Mapping[str, Any], issuer: str) -> str:
    """The issuer of the token that it was made of and the subject there; one of the gateway's own tokens stands alone."""
    source, subject = claims.get("fed:iss"), str(claims["sub"])
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
