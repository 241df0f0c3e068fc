"""Amounts of memory and processor time that cannot be meant: `40m` for `40Mi`, `128` for `128Mi`."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from hilbert.core.errors import InvalidSpec
from hilbert.core.values import Quantity

_LEAST_MEMORY: Final = Decimal(2**20)
"""Bytes. A limit below it is a slip."""
_LEAST_CPU: Final = Decimal("0.001")
"""Processors. Kubernetes knows none finer."""


def check_amount(what: str, resource: str, amount: Quantity, *, may_be_none: bool = False) -> None:
    """Raise `InvalidSpec` for a limit of `memory` or `cpu` with which no function can start. `what` is where it stands.

    `may_be_none`: 0 has a meaning there.
    """
    if may_be_none and not amount.amount:
        return
    if resource == "memory" and amount.amount < _LEAST_MEMORY:
        size = amount.units
        raise InvalidSpec(
            f"{what}: {amount.text} is {size} byte{'' if size == 1 else 's'}, in which no function can start",
            hint=_meant(amount.text) if size else "leave it out for the default limit",
        )
    if resource == "cpu" and 0 < amount.amount < _LEAST_CPU:
        raise InvalidSpec(
            f"{what}: {amount.text} is less than a thousandth of a processor, with which no function can start",
            hint="write 500m for half a processor, or 2 for two",
        )


def _meant(memory: str) -> str:
    """What a limit was probably to be that is far too small."""
    number = memory.rstrip("numkKMGTPEi")
    if not number.isdigit():
        return "write it like 128Mi"
    if memory.endswith("m"):
        return f"did you mean {number}Mi? 'm' means a thousandth of a byte"
    return f"did you mean {number}Mi?" + (" a number alone means bytes" if memory == number else "")
