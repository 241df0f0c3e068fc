"""The synchronous way to the gateway: plain sockets, a few kept connections, one deadline per call.

Requests and answers flow at the same time, so a function that answers while it still reads cannot block the call.
The standard library's `http.client` takes 40 ms to import and cannot do that.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

from hilbert.client.channel import MOST_CONNECT, PIECE, Channel, check_tunnel, outbound, tunnel_request
from hilbert.client.codec import BrokenAnswer, Head, Reply, Request
from hilbert.client.faults import GatewayTimeout, GatewayUnreachable
from hilbert.client.redirect import MOST, next_hop, too_many
from hilbert.client.url import Origin

_MOST_IDLE: Final = 4


class Transport(Channel):
    """Connections to one origin. Not for use by several threads at once."""

    _idle: list[socket.socket]

    def __init__(self, origin: Origin, **options: Any) -> None:
        """As `Channel`."""
        super().__init__(origin, **options)
        self._idle = []
        self._elsewhere: dict[Origin, Transport] = {}
        """Where answers sent their callers."""
        self._active: socket.socket | None = None
        """Of the newest request."""
        self._aborted = False

    def send(self, request: Request, *, timeout: float | None, idle: float | None = None) -> Stream:
        """Send and wait for the answer's head.

        `timeout` bounds the time to the head, and the rest too unless `idle` gives the time between two pieces (`inf`: any).
        Raises `GatewayUnreachable`, `GatewayTimeout` and `BrokenAnswer`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        head = self.encode(request)
        again = False
        while True:
            sock, fresh = self._take(deadline)
            self._active = sock
            if self._aborted:
                sock.close()
                raise GatewayUnreachable(f"the request to {self.origin} was given up")
            stream = Stream(self, sock, request, outbound(head, request), deadline=deadline, idle=idle)
            try:
                stream.wait_for_head()
            except (GatewayUnreachable, BrokenAnswer):
                again = not fresh and not stream.begun and request.safe_to_repeat
                stream.close()
                if not again:
                    raise
            except BaseException:
                stream.close()
                raise
            else:
                if again and request.removes:
                    stream.take_absence_for_success()
                return stream

    def follow(self, request: Request, *, timeout: float, idle: float | None = None) -> Stream:
        """Send, and go where answers send the caller; `timeout` is for the whole way. Raises `RedirectRefused`, too."""
        end = time.monotonic() + timeout
        transport = self
        for _ in range(MOST + 1):
            stream = transport.send(request, timeout=max(0.01, end - time.monotonic()), idle=idle)
            try:
                hop = next_hop(transport.origin, request, stream.head)
            except BaseException:
                stream.close()
                raise
            if hop is None:
                return stream
            stream.close()
            request = hop.request
            if hop.origin != transport.origin:
                transport = self._elsewhere.setdefault(hop.origin, self.to(hop.origin))
        raise too_many()

    def close(self) -> None:
        """Close the kept connections."""
        for transport in self._elsewhere.values():
            transport.close()
        self._elsewhere.clear()
        while self._idle:
            self._idle.pop().close()

    def abort(self) -> None:
        """Cut the request off, from another thread than the one that waits for its answer, which gets an exception.

        Nothing can be sent afterwards.
        """
        self._aborted = True
        sock = self._active
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def put_back(self, sock: socket.socket) -> None:
        """Keep a connection whose exchange has ended."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(sock)
        else:
            sock.close()

    def _take(self, deadline: float | None) -> tuple[socket.socket, bool]:
        while self._idle:
            sock = self._idle.pop()
            if not _readable(sock):
                return sock, False
            sock.close()  # The gateway closed it, or sent what nobody asked for.
        return self._connect(deadline), True

    def _connect(self, deadline: float | None) -> socket.socket:
        target = self.proxy or self.origin
        context = self.tls_context() if self.origin.secure else None
        limit = MOST_CONNECT if deadline is None else max(0.01, min(MOST_CONNECT, deadline - time.monotonic()))
        # Of text, Python would make an internationalized name, and import tables for that; ours is in ASCII (`client.url`).
        host = target.host.encode()
        try:
            sock = socket.create_connection((host, target.port), timeout=limit)  # type: ignore[arg-type]
        except TimeoutError as exc:
            raise GatewayTimeout(f"cannot connect to {target} within {limit:.0f} s") from exc
        except OSError as exc:
            raise GatewayUnreachable(f"cannot connect to {target}: {exc.strerror or exc}") from exc
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                if self.proxy:
                    self._tunnel(sock, self.proxy)
                sock = context.wrap_socket(sock, server_hostname=self.origin.host)
            sock.setblocking(False)
        except TimeoutError as exc:
            sock.close()
            raise GatewayTimeout(f"cannot connect to {self.origin} within {limit:.0f} s") from exc
        except OSError as exc:
            sock.close()
            raise GatewayUnreachable(f"cannot connect to {self.origin}: {exc.strerror or exc}") from exc
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel(self, sock: socket.socket, proxy: Origin) -> None:
        sock.sendall(tunnel_request(self.origin, proxy))
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = sock.recv(1)  # Nothing behind the proxy's answer may be read here: it is TLS.
            if not piece or len(answer) > PIECE:
                raise GatewayUnreachable(f"the proxy {proxy} closed the connection")
            answer += piece
        check_tunnel(answer, proxy)


class Stream:
    """An answer whose body comes piece by piece. Close it, or read it to its end."""

    def __init__(
        self,
        transport: Transport,
        sock: socket.socket,
        request: Request,
        pieces: Iterator[bytes],
        *,
        deadline: float | None,
        idle: float | None,
    ) -> None:
        self._transport = transport
        self._sock: socket.socket | None = sock
        self._reply = Reply(request.method)
        self._pieces: Iterator[bytes] | None = pieces
        self._lazy = request.pieces is not None
        """Whether asking for the next piece may take long, e.g. because it is read from a pipe."""
        self._pending = memoryview(b"")
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

    def wait_for_head(self) -> None:
        while self._reply.head is None:
            self._step()

    def __iter__(self) -> Iterator[bytes]:
        """The pieces of the body. Raises `GatewayTimeout` and `BrokenAnswer`."""
        while True:
            yield from self._reply.take()
            if self._reply.done:
                break
            if self._idle is not None:
                self._deadline = None if self._idle == math.inf else time.monotonic() + self._idle
            self._step()
        self._finish()

    def read(self, limit: int) -> bytes:
        """The whole body. Raises `BrokenAnswer` when it is longer than `limit` bytes."""
        whole = bytearray()
        try:
            for piece in self:
                whole += piece
                if len(whole) > limit:
                    raise BrokenAnswer(f"the answer is longer than {limit} bytes")
        except BaseException:
            self.close()
            raise
        return bytes(whole)

    def close(self) -> None:
        """Give the connection up, unless the body was read to its end."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _finish(self) -> None:
        if self._sock is None:
            return
        if not self._pending and not self._lazy:
            self._load()  # Fast answers come before it was noticed that nothing is left.
        # Without the whole request sent, what the gateway would read next is not a request.
        if self._reply.keep_alive and self._pieces is None and not self._pending:
            self._transport.put_back(self._sock)
            self._sock = None
        else:
            self.close()

    def _step(self) -> None:
        """Send a piece or take a piece, whichever goes; else wait until one does."""
        sock = self._sock
        if sock is None:
            raise BrokenAnswer("the answer was closed")
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is None or left > 0:
            sent = self._send(sock)
            if self._receive(sock) or sent:
                return
            poll = select.poll()
            poll.register(sock, select.POLLIN | (select.POLLOUT if self._pending else 0))
            if poll.poll(None if left is None else max(1, left * 1000)):
                return
        raise GatewayTimeout(f"no answer from {self._transport.origin} in time")

    def _send(self, sock: socket.socket) -> bool:
        if not self._pending and not self._load():
            return False
        try:
            count = sock.send(self._pending)
        except BlockingIOError:
            return False
        except OSError as exc:
            if _wants_more(exc):
                return False
            # It no longer reads, yet may have answered already, e.g. with 413; reading tells.
            self._pieces, self._pending = None, memoryview(b"")
            return False
        self._pending = self._pending[count:]
        return True

    def _load(self) -> bool:
        """Take the next piece to send; False when there is none."""
        piece = next(self._pieces, None) if self._pieces is not None else None
        if piece is None:
            self._pieces = None
            return False
        self._pending = memoryview(piece)
        return True

    def _receive(self, sock: socket.socket) -> bool:
        try:
            data = sock.recv(PIECE)
        except BlockingIOError:
            return False
        except OSError as exc:
            if _wants_more(exc):
                return False
            raise GatewayUnreachable(
                f"the connection to {self._transport.origin} broke: {exc.strerror or exc}"
            ) from exc
        self._reply.feed(data)
        return True


def _wants_more(error: OSError) -> bool:
    """Whether TLS needs the socket to be readable or writable before it can go on."""
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def _readable(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return True
