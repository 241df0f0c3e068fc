"""One request on its way through the gateway: the client's side and the upstream's side of it in one object.

An exchange is the `Handler` of the client's request and the `Listener` of the upstream's response, so that a warm call
costs callbacks and nothing else. Both bodies stream; each side is paused while the other is slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time_ns
from typing import Final

from hilbert.core.model import CallPolicy
from hilbert.dataplane import failures, headers
from hilbert.dataplane.failures import Failure
from hilbert.dataplane.relay import Relay
from hilbert.kit.http1 import EMPTY_STATUSES, ClientConnection, Headers, Request, Responder, Response

_HELD: Final = 64 * 1024
"""Bytes of a request's body that are kept: while there is no upstream yet, and to send it again to another one."""

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods that may be sent again although an upstream may have acted on them (RFC 9110, section 9.2.2)."""

_NO_POLICY: Final = CallPolicy()


class Exchange:
    """Relays one request. Subclasses say where it goes and what its end means."""

    __slots__ = (
        "_complete",
        "_held",
        "_held_bytes",
        "_holding",
        "_relay",
        "_trailers",
        "_whole",
        "call_id",
        "ended",
        "incoming",
        "policy",
        "request",
        "responder",
        "started_at",
        "status",
        "upstream",
    )

    def __init__(self, request: Request, responder: Responder, incoming: headers.Incoming) -> None:
        self.request = request
        self.responder = responder
        self.incoming = incoming
        self.call_id = incoming.call_id or headers.new_call_id()
        self.started_at = b"%d" % time_ns()
        """OpenFaaS's `X-Start-Time`: Unix time in nanoseconds."""
        self.upstream: ClientConnection | None = None
        self.policy = _NO_POLICY
        self.status = 0
        self.ended = False
        self._complete = True
        """Whether `_held` is the whole body so far, so that it can be sent again."""
        self._trailers: Headers | None = None
        self._holding = False
        self._relay: Relay | None = None
        body = responder.take_body()
        self._held: Sequence[bytes] = (body,) if body else ()
        self._held_bytes = len(body) if body else 0
        self._whole = body is not None or request.length == 0 or bool(incoming.upgrade)

    # What subclasses say

    @property
    def name(self) -> str:
        """Who is called, in messages."""
        return "control plane"

    def head(self) -> tuple[bytes, ...]:
        """Parts of the head for the upstream, up to the empty line."""
        raise NotImplementedError

    def on_end(self, status: int) -> None:
        """It is over: `status` was sent, or 499 if the client left before."""

    def again(self, reason: str, *, refused: bool) -> bool:
        """Try another upstream; False: there is none."""
        del reason, refused
        return False

    # Towards the upstream

    def attach(self, upstream: ClientConnection) -> None:
        """Send what there is of the request over a connection."""
        self.upstream = upstream
        request = self.request
        bodyless = request.method == b"HEAD"
        if self._whole and request.length is not None:
            upstream.request(b"".join((*self.head(), *self._held)), self, bodyless=bodyless, whole=True, chunked=False)
        else:
            chunked = request.length is None
            upstream.request(b"".join(self.head()), self, bodyless=bodyless, whole=False, chunked=chunked)
            for part in self._held:
                upstream.send(part)
            if self._whole:
                upstream.end(self._trailers or [])
        if self._whole:
            upstream.expect(self.policy.first_byte)
        if self._holding:
            self._holding = False
            self.responder.resume_body()

    # The client's side

    def on_body(self, data: bytes) -> None:
        if self.ended:
            return
        if self._complete:
            self._held_bytes += len(data)
            if self.upstream is None or self._held_bytes <= _HELD:
                self._held = [*self._held, data]
            else:
                self._complete = False
                self._held = ()
        upstream = self.upstream
        if upstream is not None:
            if not upstream.send(data) and not self._holding:
                self._holding = True
                self.responder.pause_body()
                if not self.responder.started:
                    upstream.expect(self.policy.first_byte)
        elif self._held_bytes >= _HELD and not self._holding:
            self._holding = True
            self.responder.pause_body()

    def on_body_end(self, trailers: Headers) -> None:
        if self._whole or self.ended:
            return
        self._whole = True
        self._trailers = trailers
        upstream = self.upstream
        if upstream is not None:
            upstream.end(trailers)
            if not self.responder.started:
                upstream.expect(self.policy.first_byte)

    def on_abort(self) -> None:
        if self._relay is None:
            self.finish(self.status or 499)

    def on_drain(self) -> None:
        if self.upstream is not None:
            self.upstream.resume()

    # The upstream's side

    def on_inform(self, response: Response) -> None:
        if response.status != 100:  # Ours was sent when the client asked for it.
            self.responder.inform(response.status, [], lines=(headers.outgoing(response)[0],))

    def on_whole_response(self, response: Response, body: bytes) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None and not self._whole:
            upstream.cut()  # It has answered without reading the request to its end.
        status = self.status = response.status
        self.responder.answer(status, self.head_lines(response), body)
        self.finish(status)

    def on_response(self, response: Response) -> None:
        status = self.status = response.status
        if self._holding and self.upstream is not None:
            self.upstream.expect(0)
        length = None if status in EMPTY_STATUSES and status != 304 else response.length
        self.responder.start(status, [], lines=(self.head_lines(response),), length=length, hold=True)

    def head_lines(self, response: Response) -> bytes:
        """The header lines that the client gets."""
        return headers.outgoing(response)[0]

    def on_response_body(self, data: bytes) -> None:
        if not self.responder.write(data) and self.upstream is not None:
            self.upstream.pause()

    def on_response_pause(self) -> None:
        if self.responder.started and self.upstream is not None:
            self.responder.flush()
            self.upstream.expect(self.policy.idle)

    def on_response_end(self, trailers: Headers) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None and not self._whole:
            upstream.cut()  # It has answered without reading the request to its end.
        self.responder.end(trailers)
        self.finish(self.status)

    def on_upstream_drain(self) -> None:
        if self._holding:
            self._holding = False
            if self.upstream is not None and not self.responder.started and not self._whole:
                self.upstream.expect(0)
            self.responder.resume_body()

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        self.upstream = None
        if self.ended:
            return
        if self.responder.started:
            self.responder.abort()
            self.finish(self.status)
        elif begun or not self.may_repeat(reset=reset) or not self.again(reason, refused=False):
            self.fail(failures.lost(self.name, reason))

    def may_repeat(self, *, reset: bool) -> bool:
        """Whether the request can be sent to another upstream: all of it is still here, and sending it twice is harmless.

        `reset`: the upstream closed without having read everything, so that it cannot have acted on it.
        """
        return self._complete and (reset or self.request.method in IDEMPOTENT) and not self.incoming.upgrade

    def on_upstream_deadline(self) -> None:
        policy = self.policy
        if not self.responder.started:
            self.fail(
                failures.too_slow(
                    self.name,
                    "the first byte of the response" if self._whole else "taking more of the request's body",
                    policy.first_byte,
                    "com.hilbert.timeout.first-byte",
                    "gateway.first_byte_timeout",
                )
            )
        elif self.upstream is not None:
            if self.upstream.reading and not self.responder.transport.get_write_buffer_size():
                self.cut_short()
            else:
                self.upstream.expect(policy.idle)  # It is the client who is slow, and the client's limits apply.

    def on_total_deadline(self) -> None:
        """The whole call has taken too long."""
        if self.ended:
            return
        if self.responder.started:
            self.cut_short()
        else:
            self.fail(
                failures.too_slow(
                    self.name, "the call", self.policy.total, "com.hilbert.timeout.total", "gateway.total_timeout"
                )
            )

    def on_upgraded(self, response: Response, early: bytes) -> None:
        upstream = self.upstream
        if upstream is None:
            return
        upstream.expect(0)
        self.status = 101
        passed = [(b"Connection", b"Upgrade"), (b"Upgrade", self.incoming.upgrade)]
        lines = self.head_lines(response)
        self._relay = Relay(self.responder, upstream, lambda: self.finish(101))
        upstream.tunnel = self._relay.from_upstream
        self.responder.upgrade(101, passed, self._relay.from_client, lines=(lines,))
        if early:
            self._relay.from_upstream.on_data(early)

    # Ends

    def fail(self, failure: Failure) -> None:
        """Answer with an error of the gateway's own."""
        if self.ended or self.responder.finished:
            return
        lines, body = failures.render(failure, self.call_id, accept=self.incoming.accept)
        self.status = failure.status
        lines += [(b"X-Call-Id", self.call_id), (b"X-Start-Time", self.started_at)]
        if not self._whole and (self.request.length is None or self.request.length > _HELD):
            self.responder.keep_alive = False
        self.responder.start(failure.status, lines, length=len(body))
        self.responder.write(body)
        self.responder.end()
        self.finish(failure.status)

    def cut_short(self) -> None:
        """End a response that has begun in a way that the client notices."""
        self.responder.abort()
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
            self.responder.resume_body()
        self.on_end(status)
