"""One request on its way from a client to an upstream, and the answer on its way back.

A hop is the handler of the client's request and the `Listener` of the upstream's response in one object, so that a call costs
callbacks and nothing else. Both bodies stream; each side is paused while the other is slow.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from hilbert.kit.http1.forward.fields import IDEMPOTENT, NOT_TRAILING, passing
from hilbert.kit.http1.forward.relay import Relay

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.http1.client import ClientConnection
    from hilbert.kit.http1.request import Headers, Request
    from hilbert.kit.http1.responder import Tunnel
    from hilbert.kit.http1.response import Response

HELD: Final = 64 * 1024
"""Bytes of a request's body that are kept: while there is no upstream yet, and to send it again to another one."""


class Client(Protocol):
    """Whom the answer goes to: a `Responder`, or what stands in front of one."""

    @property
    def started(self) -> bool:
        """A response has begun."""
        ...

    @property
    def transport(self) -> asyncio.Transport: ...

    def write(self, data: bytes) -> bool:
        """Send a part of the body; False asks to wait for `Hop.on_drain`."""
        ...

    def flush(self) -> None:
        """Send what was held back."""
        ...

    def end(self, trailers: Headers | None = None) -> None: ...

    def abort(self) -> None:
        """Cut the connection: the client must not take what it has for the whole response."""
        ...

    def pause_body(self) -> None: ...

    def resume_body(self) -> None: ...


class Patience(Protocol):
    """How long an upstream may take, in seconds; 0 is for ever."""

    @property
    def first_byte(self) -> float: ...

    @property
    def idle(self) -> float: ...


class Hop:
    """Relays one request. Subclasses say what the upstream is asked, what the client is told, and what the end means."""

    __slots__ = (
        "_complete",
        "_held",
        "_held_bytes",
        "_holding",
        "_length",
        "_relay",
        "_trailers",
        "_whole",
        "client",
        "ended",
        "patience",
        "request",
        "status",
        "upstream",
    )

    untrailed: ClassVar[Set[bytes]] = NOT_TRAILING
    """Fields that a request's trailers do not carry on, in lower case."""
    unanswered: ClassVar[Set[bytes]] = NOT_TRAILING
    """The same of an answer's."""

    def __init__(self, request: Request, client: Client, patience: Patience, body: bytes | None) -> None:
        """`body` is given when it is whole already."""
        self.request = request
        self.client = client
        self.patience = patience
        self.upstream: ClientConnection | None = None
        self.status = 0
        self.ended = False
        self._complete = True
        """Whether `_held` is the whole body so far, so that it can be sent again."""
        self._trailers: Headers | None = None
        self._holding = False
        """The client is asked to send no more of the body for now."""
        self._relay: Relay | None = None
        if body is None:
            self._held: Sequence[bytes] = ()
            self._held_bytes = 0
            self._length = length = request.length
            self._whole = length == 0
        else:
            self._held = (body,) if body else ()
            self._held_bytes = self._length = len(body)
            self._whole = True

    # What subclasses say

    def head(self) -> tuple[bytes, ...]:
        """Parts of the head for the upstream, its empty line included."""
        raise NotImplementedError

    def asked(self) -> bytes:
        """What `head` says in Upgrade; empty: it asks for no change of protocol."""
        raise NotImplementedError

    def on_response(self, response: Response) -> None:
        """Begin the answer to the client."""
        raise NotImplementedError

    def on_inform(self, response: Response) -> None:
        """Pass an interim response on."""
        raise NotImplementedError

    def switch(self, response: Response, tunnel: Tunnel) -> None:
        """Answer the client with 101, and give what it sends from then on to `tunnel`."""
        raise NotImplementedError

    def again(self, reason: str, *, refused: bool) -> bool:
        """Try another upstream; False: there is none. `refused`: it took no connection, so that nothing was sent."""
        raise NotImplementedError

    def lost(self, reason: str) -> None:
        """Answer that the upstream did not."""
        raise NotImplementedError

    def too_slow(self) -> None:
        """Answer that the upstream has not begun to in time, or does not take the request's body."""
        raise NotImplementedError

    def on_end(self, status: int) -> None:
        """It is over: `status` was sent, or 499 if the client left before."""
        raise NotImplementedError

    # Towards the upstream

    def attach(self, upstream: ClientConnection) -> None:
        """Send what there is of the request over a connection."""
        self.upstream = upstream
        length, held = self._length, self._held
        bodyless = self.request.method == b"HEAD"
        if self._whole and length is not None and self.request.simple:
            upstream.ask(b"".join((*self.head(), *held) if held else self.head()), self, self.patience.first_byte)
        elif self._whole and length is not None:
            upstream.request(
                b"".join((*self.head(), *held)),
                self,
                bodyless=bodyless,
                whole=True,
                chunked=False,
                upgrade=self.asked() if self.request.upgrade else b"",
                within=self.patience.first_byte,
            )
        else:
            upstream.request(b"".join(self.head()), self, bodyless=bodyless, whole=False, chunked=length is None)
            for part in held:
                upstream.send(part)
            if self._whole:
                upstream.end(self._trailers or [])
                upstream.expect(self.patience.first_byte)
        if self._holding:
            self._holding = False
            self.client.resume_body()

    def may_repeat(self, *, reset: bool) -> bool:
        """Whether the request can be sent to another upstream: all of it is still here, and sending it twice is harmless.

        `reset`: the upstream closed without having read everything, so that it cannot have acted on it.
        """
        return self._complete and (reset or self.request.method in IDEMPOTENT) and not self.request.upgrade

    # The client's side

    def on_body(self, data: bytes) -> None:
        if self.ended:
            return
        if self._complete:
            self._held_bytes += len(data)
            if self.upstream is None or self._held_bytes <= HELD:
                self._held = [*self._held, data]
            else:
                self._complete = False
                self._held = ()
        upstream = self.upstream
        if upstream is not None:
            if not upstream.send(data) and not self._holding:
                self._holding = True
                self.client.pause_body()
                if not self.client.started:
                    upstream.expect(self.patience.first_byte)
        elif self._held_bytes >= HELD and not self._holding:
            self._holding = True
            self.client.pause_body()

    def on_body_end(self, trailers: Headers | None = None) -> None:
        if self._whole or self.ended:
            return
        self._whole = True
        if trailers:
            trailers = passing(trailers, self.untrailed)
        self._trailers = trailers
        upstream = self.upstream
        if upstream is not None:
            upstream.end(trailers or [])
            if not self.client.started:
                upstream.expect(self.patience.first_byte)

    def on_drain(self) -> None:
        if self.upstream is not None:
            self.upstream.resume()

    # The upstream's side

    def on_whole_response(self, response: Response, body: bytes) -> None:
        self.on_response(response)
        self.on_response_body(body)
        self.on_response_end([])

    def on_response_body(self, data: bytes) -> None:
        if not self.client.write(data) and self.upstream is not None:
            self.upstream.pause()

    def on_response_pause(self) -> None:
        if self.client.started and self.upstream is not None:
            self.client.flush()
            self.upstream.expect(self.patience.idle)

    def on_response_end(self, trailers: Headers) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None and not self._whole:
            upstream.cut()  # It has answered without reading the request to its end.
        self.client.end(passing(trailers, self.unanswered) if trailers else trailers)
        self.finish(self.status)

    def on_upstream_drain(self) -> None:
        if self._holding:
            self._holding = False
            if self.upstream is not None and not self.client.started and not self._whole:
                self.upstream.expect(0)
            self.client.resume_body()

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        self.upstream = None
        if self.ended:
            return
        if self.client.started:
            self.cut_short()
        elif begun or not self.may_repeat(reset=reset) or not self.again(reason, refused=False):
            self.lost(reason)

    def on_upstream_deadline(self) -> None:
        upstream = self.upstream
        if not self.client.started:
            self.too_slow()
        elif upstream is not None:
            if upstream.reading and not self.client.transport.get_write_buffer_size():
                self.cut_short()
            else:
                upstream.expect(self.patience.idle)  # It is the client who is slow, and the client's limits apply.

    def on_upgraded(self, response: Response, early: bytes) -> None:
        upstream = self.upstream
        if upstream is None:
            return
        upstream.expect(0)
        self.status = 101
        self._relay = relay = Relay(self.client.transport, upstream, self._relayed)
        upstream.tunnel = relay.from_upstream
        self.switch(response, relay.from_client)
        if early:
            relay.from_upstream.on_data(early)

    def _relayed(self) -> None:
        self.finish(101)

    # Ends

    def cut_short(self) -> None:
        """End a response that has begun in a way that the client notices."""
        self.client.abort()
        self.finish(self.status)

    def finish(self, status: int) -> None:
        """Let go of the upstream and tell the subclass, once."""
        if self.ended:
            return
        self.ended = True
        upstream, self.upstream = self.upstream, None
        if upstream is not None and self._relay is None:
            upstream.cut()
        self._held = ()
        if self._holding:
            self._holding = False
            self.client.resume_body()
        self.on_end(status)
