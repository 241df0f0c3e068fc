"""What every provider refuses alike, before it promises anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.errors import Invalid, InvalidSpec, ReservedNamespace
from hilbert.core.model import ANNOTATION_NETWORK, ANNOTATION_SANDBOX, FunctionSpec, Namespace
from hilbert.core.values import RESERVED_NAMESPACES

_NETWORKS: Final = ("host", "none")
_SANDBOXES: Final = ("process", "landlock", "bubblewrap")


def check_spec(spec: FunctionSpec) -> None:
    """Raise `InvalidSpec` for environment names that are the platform's, and for annotations without a meaning."""
    for name in spec.env:
        if name.startswith("HILBERT_"):
            raise InvalidSpec(f"environment variable {name}: names that begin with HILBERT_ belong to the platform")
    network = spec.annotations.get(ANNOTATION_NETWORK)
    if network is not None and network not in _NETWORKS:
        raise InvalidSpec(f"annotation {ANNOTATION_NETWORK}: must be one of {', '.join(_NETWORKS)}")


def check_namespace(namespace: Namespace) -> None:
    """Raise `ReservedNamespace`, and `Invalid` for annotations without a meaning."""
    if namespace.name in RESERVED_NAMESPACES:
        raise ReservedNamespace(f"namespace {namespace.name} is reserved")
    _check_choice(namespace.annotations, ANNOTATION_NETWORK, _NETWORKS)
    _check_choice(namespace.annotations, ANNOTATION_SANDBOX, _SANDBOXES)


def _check_choice(annotations: Mapping[str, str], key: str, known: tuple[str, ...]) -> None:
    if key in annotations and annotations[key] not in known:
        raise Invalid(f"annotation {key}: must be one of {', '.join(known)}")
