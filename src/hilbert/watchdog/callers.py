"""Who may call the function, where its environment asks for it (`jwt_auth`): OpenFaaS's function authentication (facts 10.3).

The gateway's public keys are fetched once, before the first call. The gateway starts such functions anew when it gets
new keys, as it must for OpenFaaS's own watchdogs.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hilbert.core import function_tokens
from hilbert.core.function_tokens import FunctionToken
from hilbert.watchdog import p256
from hilbert.watchdog.config import ConfigError

if TYPE_CHECKING:
    from hilbert.kit.http1 import Headers, Request

DISCOVERY: Final = "/.well-known/openid-configuration"
PATIENCE: Final = 15.0
"""Seconds in which the gateway has to answer: it may be starting, too."""
WITHIN: Final = 5.0
"""Seconds for one request."""
MOST_BYTES: Final = 64 * 1024
"""Of a document of the gateway's."""
MOST_REMEMBERED: Final = 1024
MOST_FAILURES: Final = 50
"""Tokens of one address that are refused after a look at their signature, in a second; more are refused without one."""
_MOST_SOURCES: Final = 1024
_MARK: Final = (b"X-OpenFaaS-Internal", b"faas-middleware")
_TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")
_REALM: Final = (b"WWW-Authenticate", function_tokens.REALM.encode())
SECONDS: Final = b"X-Auth-Seconds"
"""Told to the function: how long the check took."""

Key = tuple[int, int]
Refusal = tuple[int, "Headers", bytes]


class Callers:
    """Lets calls of one function pass, or not."""

    def __init__(
        self, namespace: str, name: str, issuer: str, keys: Mapping[str, Key], *, now: Callable[[], float] = time.time
    ) -> None:
        """`keys` are points of P-256 by their id."""
        self._namespace = namespace
        self._name = name
        self._issuer = issuer
        self._keys = keys
        self._now = now
        self._checked: OrderedDict[bytes, FunctionToken] = OrderedDict()
        self._failures: dict[bytes, int] = {}
        self._second = 0

    def refuse(self, request: Request, peer: bytes) -> Refusal | None:
        """Status, headers and body for a call that must not pass. None: it may, and its headers say how long that took."""
        began = time.perf_counter()
        given = next((value for name, value in request.headers if name.lower() == b"authorization"), b"")
        scheme, _, text = given.decode("latin-1").partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text or len(given) > function_tokens.MAX_HEADER:
            return _unauthenticated(function_tokens.ABSENT)
        try:
            found = self._check(text, peer.rpartition(b":")[0])
        except ValueError as exc:
            return _unauthenticated(f"failed to parse JWT token: {exc}")
        if not found.opens(self._namespace, self._name):
            return 403, [_TEXT, _MARK], function_tokens.FORBIDDEN.encode()
        passed = [header for header in request.headers if header[0].lower() != b"x-auth-seconds"]
        request.headers = [*passed, (SECONDS, b"%.6f" % (time.perf_counter() - began))]
        return None

    def _check(self, text: str, source: bytes) -> FunctionToken:
        """Raises `ValueError`."""
        digest, now = hashlib.sha256(text.encode("latin-1")).digest(), self._now()
        found = self._checked.get(digest)
        if found is not None and now < found.until:
            return found
        if int(now) != self._second or len(self._failures) > _MOST_SOURCES:
            self._second = int(now)
            self._failures.clear()
        if self._failures.get(source, 0) >= MOST_FAILURES:
            raise ValueError("too many tokens from this address were refused")
        try:
            found = function_tokens.read_claims(self._claims(text), self._issuer, now=now)
        except (ValueError, RecursionError) as exc:
            self._failures[source] = self._failures.get(source, 0) + 1
            raise ValueError(str(exc) if type(exc) is ValueError else "it is not valid") from exc
        self._checked[digest] = found
        if len(self._checked) > MOST_REMEMBERED:
            self._checked.popitem(last=False)
        return found

    def _claims(self, text: str) -> Mapping[str, Any]:
        """Of a token whose signature is right (RFC 7515, 7518 section 3.4). Raises `ValueError` and `RecursionError`."""
        parts = text.split(".")
        if len(parts) != 3:
            raise ValueError("token contains an invalid number of segments")
        header, signature = json.loads(_decoded(parts[0])), _decoded(parts[2])
        if not isinstance(header, dict) or header.get("alg") != function_tokens.ALGORITHM or "crit" in header:
            raise ValueError("it is not signed as this gateway signs")
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise ValueError("its key is not known")
        signed = hashlib.sha256(f"{parts[0]}.{parts[1]}".encode("latin-1")).digest()
        if len(signature) != 64 or not p256.verify(
            key, signed, int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        ):
            raise ValueError("its signature is wrong")
        claims = json.loads(_decoded(parts[1]))
        if not isinstance(claims, dict):
            raise ValueError("it has no claims")  # noqa: TRY004 - of a token
        return claims


def fetch_callers(gateway: str, namespace: str, name: str, *, patience: float = PATIENCE) -> Callers:
    """Fetch the gateway's keys, however often it takes. `gateway` is `http://HOST:PORT`. Raises `ConfigError`."""
    if not namespace or not name:
        raise ConfigError("jwt_auth needs OPENFAAS_NAME and OPENFAAS_NAMESPACE, by which tokens name the function")
    end = time.monotonic() + patience
    while True:
        try:
            return Callers(namespace, name, *_fetch(gateway))
        except (OSError, ValueError) as exc:
            if time.monotonic() >= end:
                raise ConfigError(
                    f"jwt_auth is set, but the gateway's keys cannot be fetched from {gateway}{DISCOVERY}: {exc}"
                ) from exc
        time.sleep(0.1)


def _fetch(gateway: str) -> tuple[str, Mapping[str, Key]]:
    """The issuer, and its keys by their ids. Raises `OSError` and `ValueError`."""
    discovered = _document(gateway, DISCOVERY)
    issuer, uri = discovered.get("issuer"), discovered.get("jwks_uri")
    if not isinstance(issuer, str) or not issuer or not isinstance(uri, str):
        raise ValueError("it does not say who issues tokens")
    # Its public address may lead nowhere from here: of it, the path counts.
    path = "/" + uri.partition("://")[2].partition("/")[2]
    keys: dict[str, Key] = {}
    for one in _document(gateway, path).get("keys") or ():
        if isinstance(one, dict) and one.get("crv") == "P-256" and isinstance(one.get("kid"), str):
            key = tuple(int.from_bytes(_decoded(str(one.get(axis))), "big") for axis in ("x", "y"))
            if p256.is_on_curve(*key):
                keys[one["kid"]] = (key[0], key[1])
    if not keys:
        raise ValueError("it publishes no keys of the curve P-256")
    return issuer, keys


def _document(gateway: str, path: str) -> Mapping[str, Any]:
    import http.client

    connection = http.client.HTTPConnection(gateway.partition("://")[2], timeout=WITHIN)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        data = answer.read(MOST_BYTES + 1)
    except http.client.HTTPException as exc:
        raise ValueError(f"its answer is not HTTP ({type(exc).__name__})") from exc
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"it answered {answer.status}")
    found = json.loads(data) if len(data) <= MOST_BYTES else None
    if not isinstance(found, dict):
        raise ValueError("its answer is not a document")  # noqa: TRY004 - of an answer
    return found


def _decoded(text: str) -> bytes:
    """base64url without padding (RFC 7515, appendix C). Raises `ValueError`."""
    data = text.encode("latin-1")
    if b"+" in data or b"/" in data or b"=" in data:
        raise ValueError("it is not base64url")
    return binascii.a2b_base64(data.translate(_URL_SAFE) + b"=" * (-len(data) % 4), strict_mode=True)


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def _unauthenticated(text: str) -> Refusal:
    return 401, [_TEXT, _MARK, _REALM], text.encode()
