"""Waiting for a moment in which nothing is started: what is made ahead is made then, since those who wait come first."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

_REST: Final = 0.1
"""Seconds without a start that are such a moment."""
_REST_MOST: Final = 0.5
"""Seconds to wait for one."""


class Lull:
    """Tell it of each start."""

    def __init__(self) -> None:
        self._busy = False

    def stir(self) -> None:
        """Something is being started."""
        self._busy = True

    async def come(self) -> None:
        """Until nothing has been started for a moment, or that has not come for long enough."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REST_MOST):
                while self._busy:
                    self._busy = False
                    await asyncio.sleep(_REST)
