"""One key of the table, and short ways to write one down."""

from __future__ import annotations

import enum
from typing import Final

import msgspec


class Place(enum.StrEnum):
    """Where a key stands. The values are told to users."""

    LABEL = "a label of a function"
    FUNCTION = "an annotation of a function"
    NAMESPACE = "an annotation of a namespace"
    WRITTEN = "an object of a cluster, written by the platform"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key. The texts are written for users."""

    name: str
    places: tuple[Place, ...]
    value: str
    """What can be written."""
    default: str = ""
    """What goes without it; empty: nothing to say."""
    meaning: str
    host: bool = True
    """The provider for one machine acts on it. What a provider does not act on, it warns of."""
    kubernetes: bool = True
    images: bool = False
    """On one machine, it is for container images alone."""

    @property
    def governed(self) -> bool:
        """Whether on a namespace only who governs may set it."""
        return Place.NAMESPACE in self.places and self.name.startswith(OURS)


OURS: Final = "com.hilbert."

AMOUNT: Final = "amount"
COUNT: Final = "whole number"
DURATION: Final = "duration"
NAMES: Final = "names, with commas"
NUMBER: Final = "number"
TEXT: Final = "text"


def label(name: str, value: str, default: str, meaning: str) -> Key:
    return Key(name=name, places=(Place.LABEL,), value=value, default=default, meaning=meaning)


def function(
    name: str, value: str, default: str, meaning: str, *, host: bool = True, kubernetes: bool = True,
    images: bool = False,
) -> Key:  # fmt: skip
    return Key(
        name=name, places=(Place.FUNCTION,), value=value, default=default, meaning=meaning,
        host=host, kubernetes=kubernetes, images=images,
    )  # fmt: skip


def namespace(name: str, value: str, default: str, meaning: str, *, host: bool = True, kubernetes: bool = True) -> Key:
    return Key(
        name=name, places=(Place.NAMESPACE,), value=value, default=default, meaning=meaning,
        host=host, kubernetes=kubernetes,
    )  # fmt: skip


def either(name: str, value: str, default: str, meaning: str, *, kubernetes: bool = True, images: bool = False) -> Key:
    """On a function or a namespace."""
    return Key(
        name=name,
        places=(Place.FUNCTION, Place.NAMESPACE),
        value=value,
        default=default,
        meaning=meaning,
        kubernetes=kubernetes,
        images=images,
    )


def written(name: str, meaning: str) -> Key:
    return Key(name=name, places=(Place.WRITTEN,), value="", meaning=meaning, host=False)
