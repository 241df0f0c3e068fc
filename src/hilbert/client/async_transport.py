"""The asynchronous way to the gateway, over asyncio's streams. Says what `transport` says, with `await`."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Final

from hilbert.client.channel import MOST_CONNECT, PIECE, Channel, check_tunnel, outbound, tunnel_request
from hilbert.client.codec import BrokenAnswer, Head, Reply, Request, encode_chunk
from hilbert.client.faults import GatewayTimeout, GatewayUnreachable
from hilbert.client.redirect import MOST, next_hop, too_many
from hilbert.client.url import Origin
from hilbert.kit.aio import cancel, spawn

_MOST_IDLE: Final = 32

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AsyncTransport(Channel):
    """Connections to one origin, for any number of tasks of one event loop."""

    _idle: list[Pair]

    def __init__(self, origin: Origin, **options: Any) -> None:
        """As `Channel`."""
        super().__init__(origin, **options)
        self._idle = []
        self._elsewhere: dict[Origin, AsyncTransport] = {}
        """Where answers sent their callers."""

    async def send(
        self,
        request: Request,
        *,
        timeout: float | None,  # noqa: ASYNC109 - a deadline for what is left of it is kept
        idle: float | None = None,
    ) -> AsyncStream:
        """As `Transport.send`."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        head = self.encode(request)
        again = False
        while True:
            pair, fresh = await self._take(deadline)
            stream = AsyncStream(self, pair, request, _outbound(head, request), deadline=deadline, idle=idle)
            try:
                await stream.wait_for_head()
            except (GatewayUnreachable, BrokenAnswer):
                again = not fresh and not stream.begun and request.safe_to_repeat
                await stream.close()
                if not again:
                    raise
            except BaseException:
                await stream.close()
                raise
            else:
                if again and request.removes:
                    stream.take_absence_for_success()
                return stream

    async def follow(
        self,
        request: Request,
        *,
        timeout: float,  # noqa: ASYNC109 - as `send`
        idle: float | None = None,
    ) -> AsyncStream:
        """Send, and go where answers send the caller; `timeout` is for the whole way. Raises `RedirectRefused`, too."""
        end = asyncio.get_running_loop().time() + timeout
        transport = self
        for _ in range(MOST + 1):
            stream = await transport.send(
                request, timeout=max(0.01, end - asyncio.get_running_loop().time()), idle=idle
            )
            try:
                hop = next_hop(transport.origin, request, stream.head)
            except BaseException:
                await stream.close()
                raise
            if hop is None:
                return stream
            await stream.close()
            request = hop.request
            if hop.origin != transport.origin:
                transport = self._elsewhere.setdefault(hop.origin, self.to(hop.origin))
        raise too_many()

    async def close(self) -> None:
        """Close the kept connections."""
        for transport in self._elsewhere.values():
            await transport.close()
        self._elsewhere.clear()
        while self._idle:
            _, writer = self._idle.pop()
            await shut(writer)

    async def put_back(self, pair: Pair) -> None:
        """Keep a connection whose exchange has ended."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(pair)
        else:
            await shut(pair[1])

    async def _take(self, deadline: float | None) -> tuple[Pair, bool]:
        while self._idle:
            pair = self._idle.pop()
            if not pair[0].at_eof() and not pair[1].is_closing():
                return pair, False
            await shut(pair[1])
        return await self._connect(deadline), True

    async def _connect(self, deadline: float | None) -> Pair:
        now = asyncio.get_running_loop().time()
        limit = MOST_CONNECT if deadline is None else max(0.01, min(MOST_CONNECT, deadline - now))
        target = self.proxy or self.origin
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(limit):
                plain = self.proxy is not None or not self.origin.secure
                reader, writer = await asyncio.open_connection(
                    target.host, target.port, ssl=None if plain else self.tls_context()
                )
                sock: socket.socket = writer.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.proxy is not None and self.origin.secure:
                    writer.write(tunnel_request(self.origin, self.proxy))
                    check_tunnel(await reader.readuntil(b"\r\n\r\n"), self.proxy)
                    await writer.start_tls(self.tls_context(), server_hostname=self.origin.host)
                return reader, writer
        except BaseException as exc:
            if writer is not None:
                await shut(writer)
            if isinstance(exc, TimeoutError):
                raise GatewayTimeout(f"cannot connect to {target} within {limit:.0f} s") from exc
            if isinstance(exc, (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)):
                why = getattr(exc, "strerror", None) or exc
                raise GatewayUnreachable(f"cannot connect to {target}: {why}") from exc
            raise


class AsyncStream:
    """An answer whose body comes piece by piece. Close it, or read it to its end."""

    def __init__(
        self,
        transport: AsyncTransport,
        pair: Pair,
        request: Request,
        pieces: AsyncIterator[bytes],
        *,
        deadline: float | None,
        idle: float | None,
    ) -> None:
        self._transport = transport
        self._pair: Pair | None = pair
        self._reply = Reply(request.method)
        self._unsent: BaseException | None = None
        self._sender: asyncio.Task[None] = spawn(self._send(pair[1], pieces), name="send a request")
        self._deadline = deadline
        self._idle = idle

    @property
    def begun(self) -> bool:
        return self._reply.begun

    @property
    def head(self) -> Head:
        if self._reply.head is None:
            raise RuntimeError("wait_for_head comes first")
        return self._reply.head

    def take_absence_for_success(self) -> None:
        self._reply.take_absence_for_success()

    async def wait_for_head(self) -> None:
        while self._reply.head is None:
            await self._step()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the body. Raises `GatewayTimeout` and `BrokenAnswer`."""
        loop = asyncio.get_running_loop()
        while True:
            for piece in self._reply.take():
                yield piece
            if self._reply.done:
                break
            if self._idle is not None:
                self._deadline = None if self._idle == math.inf else loop.time() + self._idle
            await self._step()
        await self._finish()

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises `BrokenAnswer` when it is longer than `limit` bytes."""
        whole = bytearray()
        try:
            async for piece in self:
                whole += piece
                if len(whole) > limit:
                    raise BrokenAnswer(f"the answer is longer than {limit} bytes")
        except BaseException:
            await self.close()
            raise
        return bytes(whole)

    async def close(self) -> None:
        """Give the connection up, unless the body was read to its end."""
        await cancel(self._sender)
        if self._pair is not None:
            pair, self._pair = self._pair, None
            await shut(pair[1])

    async def _finish(self) -> None:
        sent_all = self._sender.done() and not self._sender.cancelled() and self._unsent is None
        if self._pair is not None and self._reply.keep_alive and sent_all:
            pair, self._pair = self._pair, None
            await self._transport.put_back(pair)
        else:
            await self.close()

    async def _step(self) -> None:
        if self._pair is None:
            raise BrokenAnswer("the answer was closed")
        try:
            async with asyncio.timeout_at(self._deadline):
                data = await self._pair[0].read(PIECE)
        except TimeoutError as exc:
            raise GatewayTimeout(f"no answer from {self._transport.origin} in time") from exc
        except OSError as exc:
            self._raise_unsent()
            raise GatewayUnreachable(
                f"the connection to {self._transport.origin} broke: {exc.strerror or exc}"
            ) from exc
        if not data:
            self._raise_unsent()
        self._reply.feed(data)

    def _raise_unsent(self) -> None:
        """Raise what the caller's own body raised: it is why the connection was cut."""
        if self._unsent is not None and not isinstance(self._unsent, OSError):
            raise self._unsent

    async def _send(self, writer: asyncio.StreamWriter, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                writer.write(piece)
                await writer.drain()
        except OSError as exc:
            self._unsent = exc  # The other side stopped reading, which its answer explains.
        except Exception as exc:  # noqa: BLE001 - the caller's own body failed; raised where its answer is read
            self._unsent = exc
            writer.transport.abort()


async def _outbound(head: bytes, request: Request) -> AsyncIterator[bytes]:
    if not isinstance(request.pieces, AsyncIterable):
        for piece in outbound(head, request):
            yield piece
        return
    yield head
    async for piece in request.pieces:
        if piece:
            yield encode_chunk(piece)
    yield encode_chunk(b"")


async def shut(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait until its socket is closed."""
    writer.close()
    try:
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
