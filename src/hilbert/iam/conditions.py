"""Do a token's claims meet a condition? OpenFaaS's rules: operators and claims must all match, of the values any.

Types are strict, since a claim that is not what a condition expects must not slip through: a claim is one text, a whole
number or a boolean, or for `ForAnyValue:` a list of those. Nothing else matches anything.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Final

from hilbert.core.access import ANY_VALUE, Condition, Values

Claims = Mapping[str, object]

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""For ASCII alone: other folding makes two names alike that two people can own (the Kelvin sign is no K)."""


def meets(condition: Condition, claims: Claims) -> bool:
    """True for an empty condition."""
    return all(
        _matches(operator, values, claims.get(claim.removeprefix("jwt:")))
        for operator, wanted in condition.items()
        for claim, values in wanted.items()
    )


def is_like(pattern: str, text: str) -> bool:
    """Whether the whole text is like the pattern, where `*` is any text, also none, and nothing else is special.

    Takes time in proportion to the product of both lengths at worst, whatever the pattern.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _matches(operator: str, values: Values, claim: object) -> bool:
    if operator.startswith(ANY_VALUE):
        several = claim if isinstance(claim, list) else []
        return any(_matches(operator.removeprefix(ANY_VALUE), values, one) for one in several)
    text = _text(claim)
    if text is None:
        return False
    match operator:
        case "StringEqual" | "StringEquals":
            return text in values
        case "StringEqualIgnoreCase":
            folded = text.translate(_LOWER)
            return any(value.translate(_LOWER) == folded for value in values)
        case "StringLike":
            return any(is_like(value, text) for value in values)
    return False  # Refused when it was read; never a match.


def _text(claim: object) -> str | None:
    if isinstance(claim, str):
        return claim
    if isinstance(claim, bool):
        return "true" if claim else "false"
    return str(claim) if isinstance(claim, int) else None
