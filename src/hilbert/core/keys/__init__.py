"""Every label and annotation that means something to the platform: one table.

docs/reference/annotations.md is written from it; deploying and namespaces warn by it of what has no effect where it stands.
A test compares it with what the code reads.
"""

from __future__ import annotations

from typing import Final

from hilbert.core.keys.key import OURS, Key, Place
from hilbert.core.keys.of_calls import CALLS, LIMITS, QUEUED, SCALING, SCHEDULES
from hilbert.core.keys.of_replicas import IMAGES, ISOLATION, NETWORK, PROBES, QUOTA, WRITTEN

__all__ = ["OURS", "SECTIONS", "SETTABLE", "WRITTEN", "Key", "Place", "placed"]

SECTIONS: Final = (
    ("Scaling", SCALING),
    ("Calls", CALLS),
    ("Limits on calls and changes", LIMITS),
    ("Queued calls", QUEUED),
    ("Schedules", SCHEDULES),
    ("Networks", NETWORK),
    ("Isolation, profiles and nodes", ISOLATION),
    ("Container images on one machine", IMAGES),
    ("Health checks", PROBES),
    ("Quota, and what replicas get", QUOTA),
)
"""All that can be set, by what it is for."""

SETTABLE: Final = {key.name: key for _, keys in SECTIONS for key in keys}


def placed(*places: Place) -> frozenset[str]:
    """Names of keys that can stand at one of `places`."""
    return frozenset(name for name, key in SETTABLE.items() if set(places) & set(key.places))
