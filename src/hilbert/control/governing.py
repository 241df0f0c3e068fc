"""What of a namespace bounds its tenant or weakens its isolation, so that the tenant must not change it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.model import Namespace

OURS: Final = "com.hilbert."
"""Quota, limits, network, isolation, allowed profiles, service accounts and constraints all begin so."""
_OTHERS: Final = frozenset({"istio-injection"})
"""Keys without a prefix that other software in a cluster obeys."""
_TOLD: Final = frozenset({"com.hilbert.tenant.scope"})
"""What the platform only tells, and nobody sets."""


def is_governing(key: str) -> bool:
    """Whether a label or annotation is for whoever governs: ours, or of others than the tenant (`PREFIX/NAME`)."""
    if key in _TOLD:
        return False
    return key.startswith(OURS) or "/" in key or key in _OTHERS


def settings_of(namespace: Namespace) -> Mapping[tuple[str, str], str]:
    """All such settings, by where and under which key they stand."""
    both = (("label", namespace.labels), ("annotation", namespace.annotations))
    return {(where, key): value for where, pairs in both for key, value in pairs.items() if is_governing(key)}


def changed(old: Namespace | None, new: Namespace | None) -> list[str]:
    """Keys of the settings that differ; None has none."""
    before = settings_of(old) if old is not None else {}
    after = settings_of(new) if new is not None else {}
    return sorted({key for where, key in {*before, *after} if before.get((where, key)) != after.get((where, key))})
