"""The client of NATS leaves no connection behind when it goes on to another server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlparse

import pytest

from hilbert.core.errors import BackendUnavailable
from hilbert.queues.jetstream import log as module
from hilbert.queues.jetstream.connection import OneConnection
from hilbert.queues.jetstream.log import Log

pytestmark = pytest.mark.anyio


class Servers:
    """One that takes connections, and remembers which have ended."""

    def __init__(self) -> None:
        self.ended: list[bool] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.ended)
        self.ended.append(False)
        with suppress(ConnectionError):
            while await reader.read(1024):
                pass
        self.ended[number] = True
        writer.close()


async def test_the_connection_before_is_closed() -> None:
    servers = Servers()
    server = await asyncio.start_server(servers.take, "127.0.0.1", 0)
    address = urlparse(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    transport = OneConnection()
    assert transport, "not replaced before it is connected"
    transport.close()
    for _ in range(3):
        await transport.connect(address, 1024, 5)
    async with asyncio.timeout(30):
        while servers.ended != [True, True, False]:
            await asyncio.sleep(0.001)
        transport.close()
        while servers.ended != [True, True, True]:
            await asyncio.sleep(0.001)
    server.close()


async def test_a_server_that_refuses_everybody_is_left_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576}\r\n-ERR \'Authorization Violation\'\r\n'
        )
        await servers.take(reader, writer)

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    monkeypatch.setattr(module, "_PATIENCE", 2.0)
    with pytest.raises(BackendUnavailable):
        await Log.connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", name="q")
    async with asyncio.timeout(30):
        while not all(servers.ended):
            await asyncio.sleep(0.001)
    server.close()
