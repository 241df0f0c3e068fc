"""The synchronous client and the asynchronous one, called alike."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import uvloop

from hilbert.client import AsyncClient, Client


class Either:
    """One of the two clients, called alike."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop if kind == "uvloop" else None)
        self.client: Any = None

    def open(self, url: str, **options: Any) -> Either:
        self.close_client()
        self.client = (Client if self.kind == "sync" else AsyncClient)(url, **options)
        return self

    def do(self, method: str, /, *words: Any, **options: Any) -> Any:
        result = getattr(self.client, method)(*words, **options)
        if inspect.isasyncgen(result):
            return self.runner.run(_collect(result))
        if inspect.iscoroutine(result):
            return self.runner.run(result)
        return list(result) if inspect.isgenerator(result) else result

    def stream(self, *words: Any, **options: Any) -> tuple[int, bytes]:
        if self.kind == "sync":
            with self.client.stream(*words, **options) as stream:
                return stream.head.status, b"".join(stream)

        async def whole() -> tuple[int, bytes]:
            async with self.client.stream(*words, **options) as stream:
                return stream.head.status, b"".join([piece async for piece in stream])

        return self.runner.run(whole())

    def close_client(self) -> None:
        if self.client is not None:
            self.do("close")
            self.client = None

    def close(self) -> None:
        self.close_client()
        self.runner.close()


async def _collect(pieces: Any) -> list[Any]:
    return [piece async for piece in pieces]
