"""Issuers, policies and roles on the wire: Hilbert's own part of the REST API, around OpenFaaS's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

MAX_DOCUMENTS: Final = 500
"""Objects in one request."""


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an apply: objects of `iam.openfaas.com/v1` as they are written in YAML."""

    documents: Sequence[Mapping[str, Any]] = ()


class AccessChange(msgspec.Struct, frozen=True, kw_only=True):
    """What came, or would come, of one of them."""

    kind: str
    name: str
    change: str
    """`created`, `changed` or `unchanged`."""
    warning: str = ""


class AccessObject(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One object."""

    api_version: str
    kind: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]


class KeyInfo(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A new signing key."""

    kid: str
    signs_from: str
    """RFC 3339. Until then, others sign."""
    restarted: Sequence[str] = ()
    """Functions whose own watchdogs check tokens, which know a key only if they were started after it was made."""
    not_restarted: Sequence[str] = ()
    """Those of them that must be restarted by hand, before the key signs."""


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /.well-known/openid-configuration` (OpenID Connect Discovery 1.0)."""

    issuer: str
    jwks_uri: str
    token_endpoint: str
    grant_types_supported: Sequence[str] = ("urn:ietf:params:oauth:grant-type:token-exchange",)
    response_types_supported: Sequence[str] = ("id_token",)
    subject_types_supported: Sequence[str] = ("public",)
    id_token_signing_alg_values_supported: Sequence[str] = ("ES256",)


class KeySet(msgspec.Struct, frozen=True, kw_only=True):
    """A JWK set (RFC 7517)."""

    keys: Sequence[Mapping[str, str]]


class ExchangeAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The answer of `POST /oauth/token` (RFC 8693, 2.2)."""

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int
    """Seconds; always there, since its absence means never to OpenFaaS's SDKs."""
    scope: str = ""

    def __repr__(self) -> str:
        return f"ExchangeAnswer(..., expires_in={self.expires_in})"


class ExchangeProblem(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an exchange that came to nothing (RFC 6749, 5.2)."""

    error: str
    error_description: str
