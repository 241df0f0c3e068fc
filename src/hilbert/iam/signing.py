"""The keys with which this gateway signs tokens: ES256, made at the first start, rotated with an overlap.

Whoever checks our tokens may have read the keys once and never again (OpenFaaS's watchdogs read them when they start).
So a new key is published for a while before it signs, and an old one stays published for as long as its tokens live.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from hilbert.core.access import LONGEST_LIFE
from hilbert.core.errors import BackendUnavailable, Conflict
from hilbert.core.ports import Shelf
from hilbert.iam.jose import VerifyKey, library

_log = structlog.get_logger("hilbert.iam")

ALG: Final = "ES256"
PUBLISHED_BEFORE: Final = 15 * 60.0
"""Seconds for which a new key is published before it signs."""
KEPT_AFTER: Final = LONGEST_LIFE.seconds + 15 * 60.0
"""Seconds for which a key stays published after it has signed its last token."""
_OWED: Final = "restarts-owed"
"""Beside the keys, no key's id: whoever has read the keys once must be told of a change, and it is not known that all were."""


class SigningKey(msgspec.Struct, frozen=True):
    """A key as it is kept."""

    kid: str
    pem: bytes
    """PKCS 8, not encrypted: the shelf is the platform's own."""
    made_at: float
    """Seconds since 1970, as the other."""
    signs_from: float

    def __repr__(self) -> str:
        return f"SigningKey({self.kid!r})"


class _Loaded:
    """A key ready for use."""

    def __init__(self, key: SigningKey) -> None:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        private = load_pem_private_key(key.pem, None)
        curve = private.curve if isinstance(private, EllipticCurvePrivateKey) else None
        if not isinstance(curve, SECP256R1):
            raise ValueError("a signing key must be of the curve P-256")  # noqa: TRY004 - of a value
        self.key = key
        self.private = private
        self.verify = VerifyKey(private.public_key(), (ALG,), key.kid)
        self.jwk = {**_public_numbers(private), "kid": key.kid, "use": "sig", "alg": ALG}


class KeyRing:
    """All keys of ours, and which of them signs."""

    def __init__(self, shelf: Shelf, *, now: Callable[[], float] = time.time) -> None:
        """Raises `Unsupported` where the library is missing."""
        library()
        self._shelf = shelf
        self._now = now
        self._keys: dict[str, _Loaded] = {}
        self._owed_since = 0.0

    async def load(self) -> None:
        """Read all keys, or make the first. Comes first. Raises `BackendError`."""
        self._take(await self._shelf.load())
        self._shelf.watch(self._take)
        if not self._keys:
            await self._add(_generate(self._now(), signs_from=self._now()))

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims. Raises `BackendUnavailable` before the keys have been read."""
        found = self._signer()
        text: str = library().encode(dict(claims), found.private, algorithm=ALG, headers={"kid": found.key.kid})
        return text

    def find(self, kid: str | None) -> VerifyKey | None:
        """The key of ours with this id, unless it has gone out of use."""
        found = self._keys.get(kid) if kid is not None else None
        return found.verify if found is not None and not self._is_over(found.key) else None

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517), also one that does not sign yet."""
        return {"keys": [one.jwk for one in self._sorted() if not self._is_over(one.key)]}

    async def rotate(self, *, revoke: bool = False) -> SigningKey:
        """Publish a new key, which signs after `PUBLISHED_BEFORE`.

        With `revoke` it signs at once and all others go: every token of ours is refused from then on. Raises `Conflict`
        while the last rotation is under way. Whoever has read the keys once must be told then, and `settled` be called: see `owes`.
        """
        now = self._now()
        self._signer()
        if not revoke and any(one.key.signs_from > now for one in self._keys.values()):
            raise Conflict(
                "the last rotation is still under way", hint="wait until its key signs, or revoke all tokens"
            )
        key = _generate(now, signs_from=now if revoke else now + PUBLISHED_BEFORE)
        gone = {one.key.kid for one in self._keys.values() if revoke or self._is_over(one.key)}
        await self._shelf.change(
            {key.kid: msgspec.msgpack.encode(key), _OWED: msgspec.msgpack.encode(now)}, remove=frozenset(gone)
        )
        self._owed_since = now
        self._keys = {kid: one for kid, one in self._keys.items() if kid not in gone}
        self._keys[key.kid] = _Loaded(key)
        return key

    def owes(self, *, after: float) -> bool:
        """Whether a rotation is `after` seconds old, and nobody has said that all have been told of it: also one by a process that is gone."""
        return 0 < self._owed_since <= self._now() - after

    async def settled(self) -> None:
        """All have been told of the last rotation. Raises `BackendError`."""
        await self._shelf.change({}, remove=frozenset({_OWED}))
        self._owed_since = 0.0

    async def _add(self, key: SigningKey) -> None:
        await self._shelf.put(key.kid, msgspec.msgpack.encode(key))
        self._keys[key.kid] = _Loaded(key)

    def _take(self, documents: Mapping[str, bytes]) -> None:
        found: dict[str, _Loaded] = {}
        documents = dict(documents)
        try:
            self._owed_since = msgspec.msgpack.decode(documents.pop(_OWED, b"\x00"), type=float)
        except msgspec.MsgspecError:
            self._owed_since = self._now()
        for name, document in documents.items():
            try:
                loaded = _Loaded(msgspec.msgpack.decode(document, type=SigningKey))
            except (msgspec.MsgspecError, ValueError, TypeError) as exc:
                _log.warning("a signing key cannot be read and is not used", key=name[:64], reason=str(exc)[:200])
                continue
            found[loaded.key.kid] = loaded
        self._keys = found

    def _sorted(self) -> list[_Loaded]:
        return sorted(self._keys.values(), key=lambda one: (one.key.signs_from, one.key.kid))

    def _signer(self) -> _Loaded:
        now = self._now()
        if not self._keys:
            raise BackendUnavailable("the gateway does not know its signing keys yet", hint="try again")
        due = [one for one in self._sorted() if one.key.signs_from <= now]
        return due[-1] if due else self._sorted()[0]  # Only after the clock has been set back.

    def _is_over(self, key: SigningKey) -> bool:
        """Whether it has signed its last token so long ago that none can be in force."""
        later = [one.key.signs_from for one in self._keys.values() if one.key.signs_from > key.signs_from]
        return bool(later) and min(later) + KEPT_AFTER < self._now()


def _generate(now: float, *, signs_from: float) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = generate_private_key(SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(kid=_thumbprint(_public_numbers(private)), pem=pem, made_at=now, signs_from=signs_from)


def _public_numbers(private: Any) -> dict[str, str]:
    numbers = private.public_key().public_numbers()
    return {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(32)),
        "y": _base64url(numbers.y.to_bytes(32)),
    }


def _thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638."""
    return _base64url(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
