"""Labels and annotations that look like the platform's and are none, or stand where nothing reads them. Pure.

They are accepted, as OpenFaaS accepts any; whoever set one should hear that it does nothing. What there is says `core.keys`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from hilbert.core.keys import SETTABLE, WRITTEN, Place, placed

ON_FUNCTIONS: Final = placed(Place.FUNCTION)
ON_NAMESPACES: Final = placed(Place.NAMESPACE)
LABELS: Final = placed(Place.LABEL)

_NOTES: Final = ("com.openfaas.git-", "com.openfaas.ui.")
"""What these begin is for people and dashboards: nothing is expected of it."""
_OURS: Final = ("com.hilbert", "com.openfaas")
_SETTINGS: Final = sorted(key for key in SETTABLE if key.startswith(_OURS))
_PLACES: Final = (
    (ON_FUNCTIONS & ON_NAMESPACES, "an annotation"),
    (ON_FUNCTIONS, Place.FUNCTION),
    (ON_NAMESPACES, Place.NAMESPACE),
    (LABELS, Place.LABEL),
)
_WRITTEN: Final = frozenset(key.name for key in WRITTEN)
_MOST: Final = 16
"""Keys that are looked up; there may be a thousand."""
_LONGEST: Final = 128


def function_keys(labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[str]:
    """What has no effect on a function, a sentence each."""
    return _told(
        [("annotation", key) for key in annotations if key not in ON_FUNCTIONS]
        + [("label", key) for key in labels if key not in LABELS]
    )


def namespace_keys(labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[str]:
    """What has no effect on a namespace, a sentence each."""
    return _told(
        [("annotation", key) for key in annotations if key not in ON_NAMESPACES] + [("label", key) for key in labels]
    )


def _told(keys: Sequence[tuple[str, str]]) -> list[str]:
    suspects = sorted((where, key) for where, key in keys if _looks_like_ours(key))
    told = [f"{where} {key[:_LONGEST]}: {why}" for where, key in suspects[:_MOST] if (why := _why(key))]
    if len(suspects) > _MOST:
        told.append(f"{len(suspects) - _MOST} more labels and annotations have no effect")
    return told


def _why(key: str) -> str:
    """Why it has no effect where it stands; empty: there is nothing to say."""
    for known, place in _PLACES:
        if key in known:
            return f"it has no effect here, only as {place}"
    certain = _head(key) in _OURS
    close = difflib.get_close_matches(key[:_LONGEST], _SETTINGS, n=1, cutoff=0.75 if certain else 0.9)
    if not close:
        return "it is not known and has no effect" if certain else ""
    return f"it is not known and has no effect; did you mean {close[0]}?"


def _looks_like_ours(key: str) -> bool:
    """Also with a slip in the prefix, such as `com.openfass.`; other people's domains are other people's."""
    if key in _WRITTEN or key.startswith(_NOTES):
        return False
    head = _head(key)
    return head in _OURS or (
        abs(len(head) - len(_OURS[0])) <= 3
        and any(difflib.SequenceMatcher(None, head, ours).ratio() > 0.85 for ours in _OURS)
    )


def _head(key: str) -> str:
    """Its first two parts, as `com.hilbert`."""
    return ".".join(key[:_LONGEST].lower().replace("/", ".").split(".")[:2])
