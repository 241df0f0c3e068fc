"""Secrets on the wire. Values come in and never go out."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from hilbert.core.errors import Invalid
from hilbert.core.model import Secret
from hilbert.core.values import NamespaceName, SecretName, parse_secret_name

MAX_VALUE_BYTES: Final = 1024 * 1024
"""Of one secret, as in Kubernetes."""


class SecretRequest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The body of a create, update or delete. `rawValue` is base64."""

    name: str = ""
    namespace: str = ""
    value: str | None = None
    raw_value: str | None = None

    def __repr__(self) -> str:
        return f"SecretRequest({self.namespace}/{self.name})"


class SecretInfo(msgspec.Struct, frozen=True):
    """A secret's name. Values never leave the gateway."""

    name: str
    namespace: str = ""


def secret_name(given: SecretRequest) -> SecretName:
    """Raises `Invalid`."""
    if not given.name:
        raise Invalid("non-empty name is required")
    return parse_secret_name(given.name)


def to_secret(given: SecretRequest, namespace: NamespaceName) -> Secret:
    """The secret to store, byte for byte: `rawValue` if it is not empty, else `value`. Raises `Invalid`."""
    name = secret_name(given)
    if given.raw_value:
        try:
            value = base64.b64decode(given.raw_value.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise Invalid("rawValue is not base64") from exc
    else:
        value = (given.value or "").encode()
    if len(value) > MAX_VALUE_BYTES:
        raise Invalid(f"secret {name}: {len(value)} bytes; the most is {MAX_VALUE_BYTES} per secret")
    return Secret(namespace=namespace, name=name, value=value)
