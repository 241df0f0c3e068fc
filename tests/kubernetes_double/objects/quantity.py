"""Quantities: parsed exactly, printed in the one form that the API server stores."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal
from typing import Any

_TEXT = re.compile(r"^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?$")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def parse(text: Any) -> Decimal:
    """The number that a quantity stands for. Raises `ValueError` with the server's text."""
    return _split(text)[0]


def _split(text: Any) -> tuple[Decimal, str]:
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError(_WRONG)
    match = _TEXT.match(str(text))
    if match is None:
        raise ValueError(_WRONG)
    number, suffix = Decimal(match.group(1)), match.group(2) or ""
    if suffix in _BINARY:
        return number * 1024 ** _BINARY[suffix], "binary"
    if suffix in _DECIMAL:
        return number * Decimal(10) ** (3 * _DECIMAL[suffix]), "decimal"
    return number * Decimal(10) ** int(suffix[1:]), "exponent"


def canonical(text: Any) -> str:
    """`1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`. Raises `ValueError`."""
    value, family = _split(text)
    return written(value, binary=family == "binary", exponent=family == "exponent")


def written(value: Decimal, *, binary: bool = False, exponent: bool = False) -> str:
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_UP) if value % 1 else value
    if value == 0:
        return "0"
    if binary and abs(value) >= 1024 and value == value.to_integral_value():
        for suffix, power in reversed(_BINARY.items()):
            if value % 1024**power == 0:
                return f"{int(value) // 1024**power}{suffix}"
        return str(int(value))
    for power in range(6, -4, -1):
        scaled = value / Decimal(10) ** (3 * power)
        if scaled == scaled.to_integral_value():
            if exponent:
                return f"{int(scaled)}e{3 * power}" if power else str(int(scaled))
            suffix = next(name for name, number in _DECIMAL.items() if number == power)
            return f"{int(scaled)}{suffix}"
    return str(value)
