"""The control process's side of the log keeper's socket: asks, waits for answers, and comes back when the keeper does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from hilbert.kit.aio import cancel, spawn
from hilbert.runtimes.logs.protocol import Request, encode

_AGAIN: Final = 0.05
"""Seconds between attempts to reach the keeper: it is ours, and started again at once when it dies."""
_CLOSE_MOST: Final = 1.0

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Link:
    """Requests are sent in order, and again after a loss of the connection: each may be served twice."""

    def __init__(self, connect: Connect, *, standing: Callable[[], Iterable[Request]]) -> None:
        """`standing` gives what a keeper that has just started has to be told first."""
        self._connect = connect
        self._standing = standing
        self._open: dict[int, tuple[Request, asyncio.Future[bytes]]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    def number(self) -> int:
        """For a new request."""
        self._number += 1
        return self._number

    def ask(self, request: Request) -> asyncio.Future[bytes]:
        """Done when the keeper has answered, with what it said; cancelled when the link is closed before."""
        if self._task is None:
            self._task = spawn(self._run(), name="log keeper")
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[request.number] = (request, done)
        if self._writer is not None:
            self._writer.write(encode(request))
        return done

    async def close(self) -> None:
        """After giving the keeper a moment for what it was asked."""
        waiting = [done for _, done in self._open.values() if not done.done()]
        if waiting and self._task is not None:
            await asyncio.wait(waiting, timeout=_CLOSE_MOST)
        await cancel(self._task)
        self._task = None
        for _, done in self._open.values():
            done.cancel()
        self._open.clear()

    async def _run(self) -> None:
        while True:
            try:
                reader, writer = await self._connect()
            except OSError:
                await asyncio.sleep(_AGAIN)
                continue
            try:
                writer.writelines(encode(request) for request in self._standing())
                writer.writelines(encode(request) for request, _ in self._open.values())
                self._writer = writer
                while line := await reader.readline():
                    number, _, said = line.rstrip().partition(b" ")
                    _, done = self._open.pop(int(number), (None, None))
                    if done is not None and not done.done():
                        done.set_result(said)
            except (OSError, ValueError):
                pass
            finally:
                self._writer = None
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(_AGAIN)
