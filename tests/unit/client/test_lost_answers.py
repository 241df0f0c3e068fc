"""A removal whose answer was lost with a kept connection is sent again; that there is nothing left to remove is success."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from hilbert.client import AsyncClient, Client
from hilbert.core.errors import FunctionNotFound

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nnot found"


@pytest.fixture
def gateway() -> Iterator[str]:
    """Answers a list, takes the next request without an answer, and knows no function afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with contextlib.suppress(OSError):
                first, _ = listener.accept()
                with first:
                    first.recv(65536)
                    first.sendall(OK)
                    first.recv(65536)
                while True:
                    following, _ = listener.accept()
                    with following:
                        following.recv(65536)
                        following.sendall(GONE)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def test_sync(gateway: str) -> None:
    with Client(gateway) as client:
        client.list_functions()
        client.delete_function("f")
    with Client(gateway) as client, pytest.raises(FunctionNotFound):
        client.delete_function("f")


def test_async(gateway: str) -> None:
    async def run() -> None:
        async with AsyncClient(gateway) as client:
            await client.list_functions()
            await client.delete_function("f")
        async with AsyncClient(gateway) as client:
            with pytest.raises(FunctionNotFound):
                await client.delete_function("f")

    asyncio.run(run())
