"""With which key call-backs are signed: a secret of the function's namespace, named by an annotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.errors import Invalid, SecretNotFound, Unsupported
from hilbert.core.ports import Provider, SecretValues
from hilbert.core.values import FunctionRef, parse_secret_name

ANNOTATION_KEY: Final = "com.hilbert.callback.key"
"""On a function or a namespace: the secret whose value signs what is told to call-backs."""


async def key_of(
    provider: Provider, ref: FunctionRef, own: Mapping[str, str], namespace: Mapping[str, str]
) -> bytes | None:
    """None where none is named.

    Raises `Invalid` for a name that is none, `SecretNotFound` and `Unsupported`: who wants signatures must not be told
    things without one.
    """
    name = own.get(ANNOTATION_KEY, namespace.get(ANNOTATION_KEY))
    if name is None:
        return None
    if not isinstance(provider, SecretValues):
        raise Unsupported(f"the {provider.name} provider cannot sign call-backs")
    value = await provider.secret_value(ref.namespace, parse_secret_name(name.strip()))
    if not value:
        raise SecretNotFound(f"secret {name} is empty and cannot sign call-backs")
    return value


def check_key_name(annotations: Mapping[str, str]) -> list[str]:
    """What is wrong with the annotation, if it is there."""
    try:
        if ANNOTATION_KEY in annotations:
            parse_secret_name(annotations[ANNOTATION_KEY].strip())
    except Invalid as exc:
        return [f"annotation {ANNOTATION_KEY}: {exc.message}"]
    return []
