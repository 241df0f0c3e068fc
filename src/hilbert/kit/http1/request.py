"""The head of a request as its handler sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Headers = list[tuple[bytes, bytes]]


class Request:
    """The head of one request, as it came.

    Requests with the same head may share one object (see `Heads`), so nothing of it changes once it is whole.
    """

    __slots__ = (
        "_headers",
        "_lines",
        "derived",
        "expects_continue",
        "keep_alive",
        "kinds",
        "length",
        "method",
        "simple",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes = b"",
        target: bytes = b"",
        lines: Sequence[bytes] | None = None,
        kinds: bytes | None = None,
    ) -> None:
        """`lines` are the header lines, if they are known as such: `Name: value`."""
        self.method = method
        self.target = target
        """The request target, byte for byte."""
        self.version = "1.1"
        self._lines = lines
        self._headers: Headers | None = None
        self.kinds = kinds
        """What each line is to the handler, where `Heads` knows."""
        self.simple = kinds is not None and method != b"HEAD"
        """Nothing about it makes its answer special: HTTP/1.1, over a connection that goes on, to a method that gets bodies."""
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
    def headers(self) -> Headers:
        """In order, names as they were sent."""
        if self._headers is None:
            self._headers = [(line[: (at := line.index(b": "))], line[at + 2 :]) for line in self._lines or ()]
        return self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers
        self._lines = None

    @property
    def lines(self) -> Sequence[bytes]:
        """The same as `Name: value`."""
        if self._lines is None:
            self._lines = [b"%b: %b" % header for header in self._headers or ()]
        return self._lines

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
