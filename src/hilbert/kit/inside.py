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
    """Connects to places such as `/run/hilbert/dial.sock:web-x2k4:8080`: where sockets come from, a replica, and its port.

    It keeps the sockets that it has for a replica until `forget`.
    """

    def __init__(self, *, ahead: int = COUNT_MOST) -> None:
        """`ahead`, at most `COUNT_MOST`, is how many sockets it asks for at a time."""
        self._ahead = ahead
        self._closed = False
        self._links: dict[str, socket.socket] = {}
        self._stock: dict[str, list[socket.socket]] = {}
        """By place, without the port."""
        self._asked: dict[str, asyncio.Future[None]] = {}

    async def dial(self, place: str) -> socket.socket:
        """A connection, for this loop to use. Raises `OSError`, at once where nobody listens."""
        source, _, port = place.rpartition(":")
        async with asyncio.timeout(_ANSWER_MOST):
            client = await self._take(source)
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
            if code == errno.ECONNREFUSED and source in self._stock:
                self._stock[source].append(client)  # It can be used again.
            else:
                client.close()
            raise OSError(code, os.strerror(code))
        return client

    def forget(self, place: str) -> None:
        """Close what was kept for the replica there. Absence is success."""
        source = place.rpartition(":")[0]
        for sock in self._stock.pop(source, ()):
            sock.close()
        answer = self._asked.pop(source, None)
        if answer is not None:
            _fail(answer, ConnectionError("the replica has ended"))

    def close(self) -> None:
        """Connect no more; connections that are open go on."""
        self._closed = True
        for sockets in self._stock.values():
            for sock in sockets:
                sock.close()
        self._stock.clear()
        for path in list(self._links):
            self._part(path, ConnectionError("this process is about to end"))

    async def _take(self, source: str) -> socket.socket:
        while not self._stock.get(source):
            answer = self._asked.get(source)
            if self._closed:
                raise ConnectionError("this process is about to end")
            if answer is None:
                answer = self._asked[source] = asyncio.get_running_loop().create_future()
                path = source.rpartition(":")[0]
                try:
                    self._ask(path, source)
                except OSError as exc:
                    self._part(path, exc)
            await asyncio.shield(answer)
        return self._stock[source].pop()

    def _ask(self, path: str, source: str) -> None:
        link = self._links.get(path)
        if link is None:
            link = self._links[path] = handover.connect(Path(path))
            asyncio.get_running_loop().add_reader(link.fileno(), self._hear, path, link)
        handover.send(link, f"{self._ahead} {source.rpartition(':')[2]}".encode())

    def _hear(self, path: str, link: socket.socket) -> None:
        try:
            message, descriptors = handover.receive(link)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._part(path, ConnectionError("the network keeper has ended"))
            return
        replica, _, why = message.decode(errors="replace").partition(" ")
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for sock in sockets:
            sock.setblocking(False)
        source = f"{path}:{replica}"
        answer = self._asked.pop(source, None)
        if answer is None:
            for sock in sockets:
                sock.close()
        elif sockets:
            self._stock.setdefault(source, []).extend(sockets)
            if not answer.done():
                answer.set_result(None)
        else:
            _fail(answer, ConnectionError(why or "no sockets were given"))

    def _part(self, path: str, why: OSError) -> None:
        link = self._links.pop(path, None)
        if link is not None:
            asyncio.get_running_loop().remove_reader(link.fileno())
            link.close()
        for source in [source for source in self._asked if source.rpartition(":")[0] == path]:
            _fail(self._asked.pop(source), why)


def _fail(answer: asyncio.Future[None], why: OSError) -> None:
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
