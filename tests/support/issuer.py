"""An identity provider in memory: keys, signed tokens, and what it answers when its keys are asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from hilbert.core.errors import BackendUnavailable

NOW = 1_790_000_000.0
"""The time in tests with such tokens."""
AUDIENCE = "https://gateway.example.com"
RSA_KEY = rsa.generate_private_key(65537, 2048)
"""Making one takes a while, so tests share it."""


def encoded(value: object) -> str:
    """A part of a token: JSON, or bytes as they are."""
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A key pair of the provider's."""

    def __init__(self, kid: str, alg: str = "ES256") -> None:
        self.kid, self.alg = kid, alg
        self.private: Any
        if alg == "RS256":
            self.private = RSA_KEY
        elif alg == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = ec.generate_private_key(ec.SECP384R1() if alg == "ES384" else ec.SECP256R1())

    def jwk(self, **more: object) -> dict[str, Any]:
        algorithm: Any = {"RS256": RSAAlgorithm, "EdDSA": OKPAlgorithm}.get(self.alg, ECAlgorithm)
        found: dict[str, Any] = json.loads(algorithm.to_jwk(self.private.public_key()))
        return {**found, "kid": self.kid, "use": "sig", "alg": self.alg, **more}


class Issuer:
    """One provider. Tests set `keys`, `down` and `documents`, and read `fetched`."""

    def __init__(self, iss: str = "https://id.example.com", *keys: Key) -> None:
        self.iss = iss
        self.keys = list(keys) or [Key("one")]
        self.down = False
        self.documents: dict[str, bytes] = {}
        """Answers that come instead, by URL."""
        self.fetched: list[str] = []

    @property
    def jwks_uri(self) -> str:
        return self.iss.rstrip("/") + "/keys"

    async def fetch(self, url: str, named: frozenset[str]) -> bytes:
        self.fetched.append(url)
        if self.down:
            raise BackendUnavailable("it is down")
        if url in self.documents:
            return self.documents[url]
        if url == self.iss.rstrip("/") + "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.iss, "jwks_uri": self.jwks_uri}).encode()
        if url == self.jwks_uri:
            return json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()
        raise BackendUnavailable(f"nothing is at {url}")

    def claims(self, **more: object) -> dict[str, Any]:
        return {"iss": self.iss, "aud": AUDIENCE, "sub": "alice", "iat": int(NOW), "exp": int(NOW) + 600, **more}

    def token(
        self, claims: Mapping[str, object] | None = None, *, key: Key | None = None, header: Mapping[str, Any] | None = None, **more: object
    ) -> str:  # fmt: skip
        """A signed one; `more` are claims that differ from the usual ones, None leaves one out."""
        by = key or self.keys[0]
        found = {**(self.claims() if claims is None else claims), **more}
        kept = {name: value for name, value in found.items() if value is not None}
        return self.signed(encoded({"alg": by.alg, "typ": "JWT", "kid": by.kid, **(header or {})}), encoded(kept), by)

    def signed(self, header: str, claims: str, by: Key | None = None) -> str:
        """Whatever the two parts are, with a right signature."""
        key = by or self.keys[0]
        algorithm = jwt.get_algorithm_by_name(key.alg)
        return f"{header}.{claims}.{encoded(algorithm.sign(f'{header}.{claims}'.encode(), key.private))}"


def manifest(kind: str, name: str, **spec: object) -> dict[str, Any]:
    """An object of `iam.openfaas.com/v1`."""
    return {"apiVersion": "iam.openfaas.com/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def issuer_object(issuer: Issuer, name: str = "idp", **spec: object) -> dict[str, Any]:
    return manifest("JwtIssuer", name, **{"iss": issuer.iss, "aud": [AUDIENCE], "tokenExpiry": "30m", **spec})


def policy_object(
    name: str, resources: object, actions: object, condition: Mapping[str, object] | None = None
) -> dict[str, Any]:
    statement = {"sid": "1", "effect": "Allow", "action": actions, "resource": resources}
    return manifest("Policy", name, statement=[{**statement, **({"condition": condition} if condition else {})}])


def role_object(name: str, policies: object, **spec: object) -> dict[str, Any]:
    return manifest("Role", name, policy=policies, **spec)
