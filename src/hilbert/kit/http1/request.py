"""The head of a request as its handler sees it, and the memory of heads that come again and again."""

from __future__ import annotations

from typing import Any, Final

Headers = list[tuple[bytes, bytes]]

_LONGEST: Final = 2048
"""Bytes of a head that is worth remembering."""


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


class Heads:
    """Heads that llhttp has parsed, by their bytes.

    Clients that keep a connection mostly send one head many times, and parsing it is the larger part of a call's cost here.
    What is found here is what llhttp made of the very same bytes in the same state, so nothing is parsed in two ways.
    A head is kept from the second time on, so that heads which never come again cost next to nothing. What is kept is bounded by
    forgetting everything once it is full: the heads in use are soon back.
    """

    __slots__ = ("_known", "_most", "_once", "get")

    def __init__(self, most: int = 1024) -> None:
        """`most` heads of at most 2 KiB each are kept."""
        self._known: dict[bytes, Request] = {}
        self._most = most
        self._once: set[int] = set()
        """Hashes of heads that have come once."""
        self.get = self._known.get
        """The request whose head has exactly these bytes, or None."""

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, head: bytes, request: Request) -> None:
        """Remember a head that was parsed, if it is plain, short, and not new."""
        mark = hash(head)
        if mark not in self._once:
            if len(self._once) >= 4 * self._most:
                self._once.clear()
            self._once.add(mark)
        elif len(head) <= _LONGEST and request.plain:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[head] = request
