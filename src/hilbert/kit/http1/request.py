"""The head of a request as its handler sees it."""

from __future__ import annotations

from typing import Any

Headers = list[tuple[bytes, bytes]]


class Request:
    """The head of one request, as it came.

    Requests with the same head may share one object (see `Heads`), so nothing of it changes once it is whole.
    """

    __slots__ = (
        "derived",
        "expects_continue",
        "headers",
        "keep_alive",
        "length",
        "method",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        """The request target, byte for byte."""
        self.version = "1.1"
        self.headers: Headers = []
        """In order, names as they were sent."""
        self.length: int | None = 0
        """Bytes of the body; None when it is chunked."""
        self.keep_alive = True
        """Whether the client can take another answer over this connection."""
        self.upgrade = False
        """The client asks to change the protocol; `Responder.upgrade` does it."""
        self.expects_continue = False
        self.derived: Any = None
        """What a handler has made of the head alone: kept, so that it is made once for a head that comes again."""

    @property
    def plain(self) -> bool:
        """Whether nothing about it needs care: a body of known length, and the connection goes on as it is."""
        return (
            self.version == "1.1"
            and self.keep_alive
            and self.length is not None
            and not self.upgrade
            and not self.expects_continue
        )
