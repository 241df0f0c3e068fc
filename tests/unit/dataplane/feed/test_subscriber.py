"""A worker's end of the feed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hilbert.dataplane.feed.subscriber import Link
from hilbert.dataplane.table import Table
from hilbert.kit.http1 import Pool, TimerWheel


async def test_a_link_closes_while_counters_change(tmp_path: Path) -> None:
    """A worker leaves when its last call has ended, which has just changed its counters.

    Before Python 3.12, `asyncio.wait_for` loses a cancellation that comes with what was waited for: old workers stayed.
    """
    wheel = TimerWheel()
    for turns in range(4):
        table = Table("dev", lambda address: Pool(address, wheel))
        link = Link(
            str(tmp_path / "nobody"), table, index=0, on_change=lambda _: None, on_gone=lambda _: None,
            connections=lambda: 0, on_keys=lambda _: None,
        )  # fmt: skip
        link.start()
        for _ in range(3 + turns):
            await asyncio.sleep(0)
        table.on_changed()
        async with asyncio.timeout(10):
            await link.close()
