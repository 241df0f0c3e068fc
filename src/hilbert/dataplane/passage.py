"""One request on its way through the gateway: a hop with a call id, which answers with errors of the gateway's own."""

from __future__ import annotations

from time import time_ns
from typing import Final

from hilbert.core.model import CallPolicy
from hilbert.dataplane import failures, headers
from hilbert.dataplane.failures import Failure
from hilbert.kit.http1 import EMPTY_STATUSES, Request, Responder, Response, Tunnel
from hilbert.kit.http1.forward import Hop, first_value
from hilbert.kit.http1.forward.hop import HELD

_NO_POLICY: Final = CallPolicy()


class Passage(Hop):
    """Relays one request. Subclasses say where it goes and what its end means."""

    __slots__ = ("call_id", "incoming", "started_at")

    client: Responder
    patience: CallPolicy

    untrailed = headers.NOT_TRAILING_IN
    unanswered = headers.NOT_TRAILING_OUT

    def __init__(
        self, request: Request, responder: Responder, incoming: headers.Incoming, policy: CallPolicy = _NO_POLICY
    ) -> None:
        Hop.__init__(
            self, request, responder, policy, responder.take_body()
        )  # `super()` would cost more than what it calls.
        self.incoming = incoming
        self.call_id = incoming.call_id or headers.new_call_id()
        self.started_at = b"%d" % time_ns()
        """OpenFaaS's `X-Start-Time`: Unix time in nanoseconds."""

    @property
    def name(self) -> str:
        """Who is called, in messages."""
        return "control plane"

    def asked(self) -> bytes:
        return self.incoming.upgrade

    def head_lines(self, response: Response) -> bytes:
        """The header lines that the client gets."""
        lines, _, dated = headers.outgoing(response)
        return lines if dated else lines + self.client.date

    def informing_lines(self, response: Response) -> bytes:
        """The header lines of an interim answer that the client gets."""
        return headers.outgoing(response)[0]

    def on_end(self, status: int) -> None: ...

    def again(self, reason: str, *, refused: bool) -> bool:
        del reason, refused
        return False

    # The client's side

    def on_abort(self) -> None:
        if self._relay is None:
            self.finish(self.status or 499)

    # The upstream's side

    def on_inform(self, response: Response) -> None:
        if response.status == 100:  # Ours was sent when the client asked for it.
            return
        if not self.client.inform(response.status, [], lines=(self.informing_lines(response),)) and self.upstream:
            self.upstream.pause()

    def on_whole_response(self, response: Response, body: bytes) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None and not self._whole:
            upstream.cut()  # It has answered without reading the request to its end.
        status = self.status = response.status
        self.client.answer(status, self.head_lines(response), body)
        self.finish(status)

    def on_response(self, response: Response) -> None:
        status = self.status = response.status
        if self._holding and self.upstream is not None:
            self.upstream.expect(0)
        length = None if status in EMPTY_STATUSES and status != 304 else response.length
        self.client.start(status, [], lines=(self.head_lines(response),), length=length, hold=True)

    def switch(self, response: Response, tunnel: Tunnel) -> None:
        passed = [(b"Connection", b"Upgrade"), (b"Upgrade", first_value(response.headers, b"upgrade"))]
        self.client.upgrade(101, passed, tunnel, lines=(self.head_lines(response),))

    # Errors

    def lost(self, reason: str) -> None:
        self.fail(failures.lost(self.name, reason))

    def too_slow(self) -> None:
        what = "the first byte of the response" if self._whole else "taking more of the request's body"
        annotation, setting = "com.hilbert.timeout.first-byte", "gateway.first_byte_timeout"
        self.fail(failures.too_slow(self.name, what, self.patience.first_byte, annotation, setting))

    def on_total_deadline(self) -> None:
        """The whole call has taken too long."""
        if self.ended:
            return
        if self.client.started:
            self.cut_short()
        else:
            annotation, setting = "com.hilbert.timeout.total", "gateway.total_timeout"
            self.fail(failures.too_slow(self.name, "the call", self.patience.total, annotation, setting))

    def fail(self, failure: Failure) -> None:
        """Answer with an error of the gateway's own."""
        if self.ended or self.client.finished:
            return
        lines, body = failures.render(failure, self.call_id, accept=first_value(self.request.headers, b"accept"))
        self.status = failure.status
        lines += [(b"X-Call-Id", self.call_id), (b"X-Start-Time", self.started_at)]
        if not self._whole and (self.request.length is None or self.request.length > HELD):
            self.client.keep_alive = False
        self.client.start(failure.status, lines, lines=(self.client.date,), length=len(body))
        self.client.write(body)
        self.client.end()
        self.finish(failure.status)


class Refused(Passage):
    """A request that the gateway answers itself, at once."""

    __slots__ = ()

    def __init__(self, request: Request, responder: Responder, incoming: headers.Incoming, failure: Failure) -> None:
        super().__init__(request, responder, incoming)
        self.fail(failure)
