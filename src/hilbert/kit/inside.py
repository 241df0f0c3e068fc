"""Connecting to what listens on the loopback of another network namespace, with sockets that were made there.

A socket stays in the network that it was made in, whoever has it. So somebody who can go there makes some ahead, unconnected,
and hands them over (`handover`); from then on a connection costs what it costs anywhere.

On the wire, over a socket that keeps message bounds: `COUNT REPLICA` asks for that many sockets of a replica's network; the
answer is `REPLICA` with the sockets, or `REPLICA why there are none`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final

from hilbert.kit import handover

COUNT_MOST: Final = 16
"""Sockets in one answer."""
_ANSWER_MOST: Final = 10.0
"""Seconds for sockets to come, or for a connection to come about."""


class Dialer:
    """Connects to `REPLICA:PORT`. It keeps the sockets that it has for a replica until `forget`."""

    def __init__(self, path: Path, *, ahead: int = COUNT_MOST) -> None:
        """`path` is where sockets come from; `ahead`, at most `COUNT_MOST`, is how many it asks for at a time."""
        self._path = path
        self._ahead = ahead
        self._link: socket.socket | None = None
        self._stock: dict[str, list[socket.socket]] = {}
        self._asked: dict[str, asyncio.Future[list[socket.socket]]] = {}

    async def dial(self, place: str) -> socket.socket:
        """A connection to `REPLICA:PORT`, for this loop to use. Raises `OSError`, at once where nobody listens."""
        replica, _, port = place.rpartition(":")
        async with asyncio.timeout(_ANSWER_MOST):
            client = await self._take(replica)
            try:
                code = client.connect_ex(("127.0.0.1", int(port)))
                if code == errno.ECONNABORTED:  # It tells once more of the attempt before, which was refused.
                    code = client.connect_ex(("127.0.0.1", int(port)))
                if code == errno.EINPROGRESS:
                    await _writable(client)
                    code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            except BaseException:
                client.close()
                raise
        if code:
            if code == errno.ECONNREFUSED and replica in self._stock:
                self._stock[replica].append(client)  # It can be used again.
            else:
                client.close()
            raise OSError(code, os.strerror(code))
        return client

    def forget(self, replica: str) -> None:
        """Close what was kept for it. Absence is success."""
        for sock in self._stock.pop(replica, ()):
            sock.close()
        answer = self._asked.pop(replica, None)
        if answer is not None:
            _fail(answer, ConnectionError("the replica has ended"))

    def close(self) -> None:
        for replica in list(self._stock):
            self.forget(replica)
        self._part(ConnectionError("this process is about to end"))

    async def _take(self, replica: str) -> socket.socket:
        while not self._stock.get(replica):
            answer = self._asked.get(replica)
            if answer is None:
                answer = self._asked[replica] = asyncio.get_running_loop().create_future()
                try:
                    self._ask(replica)
                except OSError as exc:
                    self._part(exc)
            sockets = await asyncio.shield(answer)
            if sockets:
                self._stock.setdefault(replica, []).extend(sockets)
                sockets.clear()  # The first who waited has put them there for all.
        return self._stock[replica].pop()

    def _ask(self, replica: str) -> None:
        if self._link is None:
            self._link = handover.connect(self._path)
            asyncio.get_running_loop().add_reader(self._link.fileno(), self._hear, self._link)
        handover.send(self._link, f"{self._ahead} {replica}".encode())

    def _hear(self, link: socket.socket) -> None:
        try:
            message, descriptors = handover.receive(link)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._part(ConnectionError("the network keeper has ended"))
            return
        replica, _, why = message.decode(errors="replace").partition(" ")
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for sock in sockets:
            sock.setblocking(False)
        answer = self._asked.pop(replica, None)
        if answer is None or answer.done():
            for sock in sockets:
                sock.close()
        elif sockets:
            answer.set_result(sockets)
        else:
            _fail(answer, ConnectionError(why or "no sockets were given"))

    def _part(self, why: OSError) -> None:
        link, self._link = self._link, None
        if link is not None:
            asyncio.get_running_loop().remove_reader(link.fileno())
            link.close()
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            _fail(answer, why)


def _fail(answer: asyncio.Future[list[socket.socket]], why: OSError) -> None:
    if not answer.done():
        answer.set_exception(why)
        answer.exception()  # Seen, even if nobody waits any more.


async def _writable(sock: socket.socket) -> None:
    """Until a connection has come about, or has not."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(descriptor, settle)
    try:
        await ready
    finally:
        with contextlib.suppress(OSError):
            loop.remove_writer(descriptor)
