"""The connection to NATS, as its client makes it, without those that it forgets."""

from __future__ import annotations

from typing import Any
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport


class OneConnection(TcpTransport):
    """Closes the connection to one server before it makes that to the next.

    The client replaces one on which a server has answered with an error, and leaves it open: a descriptor for each try.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __bool__(self) -> bool:
        # The client makes another in place of one that has never been connected.
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        left: Any = self._bare_io_writer
        if left is not None:
            left.close()
        await super().connect(uri, buffer_size, connect_timeout)
