"""The server side of one HTTP/1.1 connection: the order of answers, time, and the connection's end."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final, cast

from hilbert.kit.http1 import refusals
from hilbert.kit.http1.limits import LINGER, Limits
from hilbert.kit.http1.outbox import UNHELD, Outbox, Unheld
from hilbert.kit.http1.reading import BODY, QUEUE, REFUSED, SLICE, UPGRADE, RequestReader
from hilbert.kit.http1.request import Headers
from hilbert.kit.http1.responder import Accept, Responder, Tunnel, peer_address
from hilbert.kit.http1.timers import TimerWheel

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.http1.heads import Heads

_HIGH_WATER: Final = 256 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ServerConnection(RequestReader):
    """One client's connection. `accept` is called once a request's head is whole and its turn has come."""

    __slots__ = (
        "_advancing",
        "_half_close",
        "_loop",
        "_made",
        "_no_more",
        "_on_lost",
        "_on_made",
        "_outbox",
        "_refusal",
        "_refuse",
        "_unsent",
        "_wheel",
        "deadline",
        "draining",
        "far_end",
        "peer",
        "wheel_due",
        "writable",
    )

    def __init__(
        self,
        accept: Accept,
        limits: Limits,
        wheel: TimerWheel,
        *,
        refuse: Callable[[int, str], tuple[Headers, bytes]] | None = None,
        on_made: Callable[[ServerConnection], None] | None = None,
        on_lost: Callable[[ServerConnection], None] | None = None,
        half_close: bool = True,
        heads: Heads | None = None,
        outbox: Outbox | Unheld = UNHELD,
    ) -> None:
        """`refuse` makes headers and body of an answer to a request that is malformed or over a limit.

        `on_made` is told once the connection is there, and may `turn_away` or `hand_to`.
        Without `half_close` a client that will send no more counts as gone, as in Go's server. `heads` is shared by all
        connections of a process that have the same `limits`; without it every head is parsed. Whole answers go through `outbox`.
        """
        super().__init__(accept, limits, heads)
        self._wheel = wheel
        self._outbox = outbox
        self._refuse = refuse or refusals.plain_refusal
        self._on_made = on_made
        self._on_lost = on_lost
        self._half_close = half_close
        self._loop = wheel.loop
        self._advancing = False
        self._made = False
        self._no_more = False
        """The client has half-closed."""
        self._refusal: tuple[int, str] | None = None
        """What to answer to a bad request once those before it are answered."""
        self._unsent = 0
        self.peer = self.far_end = b""
        self.writable = True
        self.draining = False
        self.deadline = 0.0
        self.wheel_due = 0.0

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from asyncio's
        self._made = True
        if self._dead:
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.peer = self.far_end = peer_address(transport.get_extra_info("peername"))
        if self._on_made is not None:
            self._on_made(self)
        if not self._dead:
            self._arm()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._dead = True
        self._outbox.flush()
        self._wheel.forget(self)
        if self._tunnel is not None:
            self._tunnel.on_close()
        current, self._current = self._current, None
        self._forget()
        if current is not None and not current.finished:
            current.finished = True
            if current.handler is not None:
                current.handler.on_abort()
        if self._on_lost is not None:
            self._on_lost(self)

    def eof_received(self) -> bool:
        self._outbox.flush()
        if self._tunnel is not None:
            self._tunnel.on_eof()
            return True
        # A client may half-close after its request; one that leaves in the middle of it is gone.
        if self._current is None or self._parsed is not None or not self._half_close:
            return False
        self._no_more = True
        return True

    def pause_writing(self) -> None:
        self.writable = False
        self._unsent = self.transport.get_write_buffer_size()
        self._arm()

    def resume_writing(self) -> None:
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.on_drain()
        else:
            self._arm()
            if self._current is not None and self._current.handler is not None:
                self._current.handler.on_drain()

    # Its owner's side

    def hand_to(self, accept: Accept, heads: Heads | None) -> None:
        """Have another `accept`, and the heads that belong to it, before anything has come."""
        self._accept = accept
        self._heads = heads
        self._fresh = heads is not None

    def turn_away(self, headers: Headers, body: bytes) -> None:
        """Answer with 503 before anything is asked, and close."""
        self.send(refusals.render(503, headers, body, self.date))
        self._close()

    @property
    def date(self) -> bytes:
        """A header line with the present second."""
        return self._wheel.date

    # The responder's side

    def send(self, data: bytes) -> None:
        if not self._dead:
            self._outbox.write(self.transport, data)

    def send_soon(self, data: bytes) -> None:
        if not self._dead:
            self._outbox.send(self.transport, data)

    def pause(self, responder: Responder) -> None:
        """Take no more of the body of `responder`'s request for now."""
        if responder is self._current and not self._held_up & BODY:
            self._hold_up(BODY)
            self._arm()

    def resume(self, responder: Responder) -> None:
        if responder is self._current and self._held_up & BODY:
            self._go_on(BODY)
            self._arm()

    def cut(self) -> None:
        """Close at once, losing what is not yet sent. May come before `connection_made`, which then closes."""
        if not self._dead:
            self._die()
            if self._made:
                self._outbox.flush()
                self.transport.abort()

    def _die(self) -> None:
        """Nothing more is taken or answered."""
        self._dead = True
        self._fresh = False

    def retire(self) -> None:
        """Take no more than one further request; a tunnel ends once one of its sides has."""
        self.draining = True
        if self._tunnel is not None:
            self._tunnel.on_leave()

    def drain(self) -> None:
        """Answer what is under way with `Connection: close`; an idle connection closes now.

        A client may just be sending a request on an idle connection, and would lose it: `retire` some time before.
        """
        self.retire()
        if self._current is None and not self._head_bytes and self._tunnel is None:
            self._outbox.flush()
            self.transport.close()

    @property
    def idle(self) -> bool:
        """Nothing is under way, and nothing has come of a next request."""
        return self._current is None and not self._head_bytes and self._tunnel is None and not self._dead

    @property
    def waits_since(self) -> float:
        """When it began to wait for the client: for a request, the rest of a head, more of a body. Infinite: it does not."""
        limits = self._limits
        if self._dead or self._tunnel is not None:
            return inf
        if self._current is None:
            return self.deadline - (limits.head_time if self._head_bytes else limits.keep_alive)
        if self._parsed is self._current and self._current.request.length != 0 and not self._held_up:
            return self.deadline - limits.body_time
        return inf

    def make_room(self) -> None:
        """End it, whatever the client still meant to send."""
        if self.idle:
            self._close()
        else:
            self.cut()

    def become_tunnel(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._arm()
        early, self._early, self._backlog = self._early + self._backlog, b"", b""
        if early:
            tunnel.on_data(early)
        self._go_on(BODY | QUEUE | UPGRADE)

    def answered(self, responder: Responder) -> None:
        """`responder` has sent everything."""
        if responder is not self._current:
            return
        if self._parsed is not responder:
            self._leave(responder)
        elif not self._soon_whole(responder):
            self._linger()

    def _soon_whole(self, responder: Responder) -> bool:
        """Whether what is still to come of the request is so little that reading it beats a new connection."""
        length = responder.request.length
        return length == 0 or (responder.keep_alive and length is not None and length - self._body_bytes <= SLICE)

    def _leave(self, responder: Responder) -> None:
        responder.handler = None  # The handler holds the responder: leave no circle for the garbage collector.
        if responder.keep_alive:
            self._next()
        else:
            self._close()

    def _begin(self, responder: Responder) -> None:
        self._current = responder
        request = responder.request
        if request.length != 0:
            self._arm()  # Otherwise the deadline of the idle connection may stand: it does not count while a call runs.
        responder.handler = self._accept(request, responder)
        if request.expects_continue and not responder.started and request.version == "1.1" and request.length != 0:
            self.send(_CONTINUE)

    def _next(self) -> None:
        """Go on to the next request, if it is there already."""
        self._current = None
        if self._advancing:
            return  # Answered at once: the loop below goes on, however many there are of that kind.
        if self._waiting:
            self._advance()
        if self._dead:
            return
        if self._current is None:
            if self._refusal is not None:
                self._reject(*self._refusal)
            elif self.draining or self._no_more:
                self._close()
            else:
                self._fresh = self._between and self._heads is not None
                if self.writable and not self._head_bytes and (seconds := self._limits.keep_alive):
                    self.deadline = deadline = self._loop.time() + seconds  # As `_arm` would.
                    if not 0 < self.wheel_due <= deadline:
                        self._wheel.watch(self)
                else:
                    self._arm()
        if self._held_up and len(self._waiting) < self._limits.pipelined and self._held <= self._limits.held:
            self._go_on(QUEUE if self._current is not None else BODY | QUEUE)

    def _advance(self) -> None:
        """Begin waiting requests until one is not answered at once."""
        self._advancing = True
        while self._current is None and self._waiting and not self._dead:
            responder = self._waiting.popleft()
            held, responder.held = responder.held or (), None
            self._begin(responder)
            for part in held:
                if isinstance(part, bytes):
                    self._held -= len(part)
            for part in held:
                if responder.finished or responder.handler is None:
                    break
                if isinstance(part, bytes):
                    responder.handler.on_body(part)
                else:
                    responder.handler.on_body_end(part)
        self._advancing = False

    def _reject(self, status: int, reason: str) -> None:
        # Its answer stands in place of its handler's, and the connection closes.
        current, parsed = self._current, self._parsed
        if current is not None and current is not parsed:
            # Requests before it are fine, and are answered first.
            if parsed is not None:
                self._waiting.remove(parsed)
                self._parsed = None
            self._refusal = (status, reason)
            self._backlog = b""
            self._hold_up(REFUSED)
            return
        if current is not None and not current.finished:
            started = current.started
            current.finished = True
            if current.handler is not None:
                current.handler.on_abort()
            if started:
                self.cut()
                return
        elif current is not None:
            self.cut()
            return
        self.send(refusals.render(status, *self._refuse(status, reason), self.date))
        self._linger()

    def _close(self) -> None:
        """Close after what was written is sent."""
        self._die()
        self.deadline = self._loop.time() + self._limits.write_time if self._limits.write_time else 0.0
        self._wheel.watch(self)
        self._outbox.flush()
        self.transport.close()

    def _linger(self) -> None:
        """The client is still sending a body that nobody wants.

        Closing at once would reset the connection and could take the answer away from the client before it has read
        it: so say that no more is coming, and read on for a moment (RFC 9112, section 9.6).
        """
        self._die()
        self._backlog = b""
        if self._held_up:
            self._held_up = 0
            self.transport.resume_reading()
        self._outbox.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline = self._loop.time() + LINGER
        self._wheel.watch(self)

    # Time

    def _arm(self) -> None:
        limits = self._limits
        if not self.writable:
            seconds = limits.write_time
        elif self._tunnel is not None or self._dead:
            seconds = 0.0
        elif self._current is None:
            seconds = limits.head_time if self._head_bytes else limits.keep_alive
        elif self._parsed is self._current and self._current.request.length != 0 and not self._held_up:
            seconds = limits.body_time
        else:
            seconds = 0.0
        self.deadline = deadline = self._loop.time() + seconds if seconds else 0.0
        if not 0 < self.wheel_due <= deadline:
            self._wheel.watch(self)

    def on_deadline(self) -> None:
        if self._dead:
            self.transport.abort()
        elif not self.writable:
            unsent = self.transport.get_write_buffer_size()
            if unsent >= self._unsent:
                self.cut()
            else:
                self._unsent = unsent
                self._arm()
        elif self._current is None:
            if self._head_bytes:
                self._reject(408, f"the request's headers took more than {self._limits.head_time:g} s")
            else:
                self._close()
        elif self._parsed is self._current:
            self._reject(408, f"no byte of the request's body for {self._limits.body_time:g} s")
