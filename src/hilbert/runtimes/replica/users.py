"""A user id for each namespace, when this runs as root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_RANGES: Final = ((0x70000000, 0x0FFF0000), (30000, 30000))
"""First id and how many: above all that containers and services are given by convention (systemd's UIDS-GIDS), or where
a container maps only the first 65,536 ids, at the end of the ordinary ones."""

_BLOCK: Final = 65536
_BLOCKS: Final = (0x24000000, 0x70000000)
"""From where to where there are blocks of ids for images with several users: between what is given to people for containers of
their own (subuid(5): up to 600,100,000) and the single ids above. Later installations on a machine have the same blocks."""


class Users:
    """Gives the same id to the same namespace number, and different ones to others, within one installation."""

    def __init__(self, label: str, *, uid_map: str | None = None) -> None:
        """`label` sets installations on one machine apart; `uid_map` is the text of `/proc/self/uid_map`."""
        text = Path("/proc/self/uid_map").read_text() if uid_map is None else uid_map
        mapped = [tuple(map(int, line.split())) for line in text.splitlines()]
        self._blocks = any(start <= _BLOCKS[0] and _BLOCKS[1] <= start + length for start, _, length in mapped)
        self._first, self._count = next(
            (
                (first, count)
                for first, count in _RANGES
                if any(start <= first and first + count <= start + length for start, _, length in mapped)
            ),
            (0, 0),
        )
        self._shift = int.from_bytes(label.encode()[-4:], "big") % 4096 * 65536 if self._count > 65536 else 0

    @property
    def available(self) -> bool:
        return os.geteuid() == 0 and self._count > 0

    def user(self, tenant: int) -> tuple[int, int] | None:
        """User and group of the namespace with this number; None when there are none to give."""
        if not self.available:
            return None
        number = self._first + (self._shift + tenant) % self._count
        return number, number

    def block(self, tenant: int) -> tuple[int, int] | None:
        """First id and how many, of the block of the namespace with this number; None when there is none to give.

        A number is never given again, and neither is a block: the first 19,456 namespaces of an installation have one.
        """
        first = _BLOCKS[0] + tenant * _BLOCK
        if not self.available or not self._blocks or first >= _BLOCKS[1]:
            return None
        return first, _BLOCK
