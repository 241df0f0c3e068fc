"""The head of a response as its listener sees it, and what a listener hears."""

from __future__ import annotations

from typing import Any, Protocol

from hilbert.kit.http1.request import Headers


class Response:
    """The head of one response, as it came.

    Responses with the same head may share one object, so nothing of it changes once it is whole.
    """

    __slots__ = ("derived", "headers", "length", "status", "until_close")

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.length: int | None = None
        """Bytes of the body as Content-Length says, or as have come of chunks all at once; None when neither says."""
        self.until_close = False
        """The body ends with the connection."""
        self.derived: Any = None
        """What a listener has made of the head alone: kept, so that it is made once for a head that comes again."""


class Listener(Protocol):
    """What sent a request and takes the response. Called on the event loop."""

    def on_inform(self, response: Response) -> None:
        """An interim response (1xx other than 101). Called while bytes are parsed: it may pause the connection, not cut it."""
        ...

    def on_whole_response(self, response: Response, body: bytes) -> None:
        """All of a response at once; then nothing else comes. Its length is that of `body`, and it has no trailers."""
        ...

    def on_response(self, response: Response) -> None: ...

    def on_response_body(self, data: bytes) -> None: ...

    def on_response_pause(self) -> None:
        """All that has come of the response so far has been given; more of it is to come."""
        ...

    def on_response_end(self, trailers: Headers) -> None: ...

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        """The response will not come, or not whole. `begun`: some bytes of it had come.

        `reset`: the upstream closed before it had read all that was sent, so it cannot have acted on the whole request.
        """
        ...

    def on_upstream_deadline(self) -> None:
        """`ClientConnection.deadline` has passed."""
        ...

    def on_upstream_drain(self) -> None:
        """The upstream has taken what was sent; `send` had returned False before."""
        ...

    def on_upgraded(self, response: Response, early: bytes) -> None:
        """The upstream changed the protocol (101); `early` are bytes that came behind. Set `ClientConnection.tunnel`."""
        ...
