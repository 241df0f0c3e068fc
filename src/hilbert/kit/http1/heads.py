"""Heads that need no parser: those that have come before, and those made of plain lines.

Clients that keep a connection mostly send one head many times, and heads that differ do so in one or two lines. So a
whole head is known by its bytes, with all that was made of it, and a header line is known by its bytes, whichever head
it stands in.

A plain line is one that llhttp takes, too, and in the same way, whatever stands beside it. All others, and all heads
that break a rule or a limit, are left to llhttp: nothing is refused here. A property test holds both against each other.
"""

from __future__ import annotations

from typing import Final

from hilbert.kit.http1.hosts import is_host
from hilbert.kit.http1.limits import Limits
from hilbert.kit.http1.request import Request

_LONGEST: Final = 2048
"""Bytes of a head that is looked at here."""
_LONGEST_LINE: Final = 1024
"""Bytes of a header line that is worth remembering."""

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_VERSION: Final = b" HTTP/1.1"
_TARGET: Final = bytes(set(range(0x21, 0x7F)) - {0x23})
"""What a plain target is made of; a fragment is no part of one."""
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VALUE: Final = bytes(range(0x20, 0x7F))
_DIGITS: Final = b"0123456789"
_SLASH: Final = 0x2F
_BLANK: Final = 0x20

_PLAIN: Final = 0
_HOST: Final = 1
_LENGTH: Final = 2
"""What a line is: bits, since there may be one of each but the first."""

_CAREFUL: Final = frozenset({b"connection", b"proxy-connection", b"transfer-encoding", b"upgrade", b"expect"})
"""Fields that say how the request is framed or what becomes of the connection."""

_Line = tuple[tuple[bytes, bytes], int]
"""Name and value, and what it is."""


class Heads:
    """What is known of heads; shared by all connections of a process that have the same limits.

    What is found here is what llhttp made, or would make, of the same bytes in the same state, so nothing is read in two ways.
    A head is kept from the second time on, so that heads which never come again cost next to nothing. What is kept is bounded by
    forgetting everything once it is full: what is in use is soon back.
    """

    __slots__ = ("_known", "_lines", "_longest", "_most", "_most_body", "_most_lines", "_once", "get")

    def __init__(self, limits: Limits = Limits(), *, most: int = 1024) -> None:  # noqa: B008 - immutable
        """`most` heads of at most 2 KiB each, and as many lines of at most 1 KiB, are kept."""
        self._longest = min(_LONGEST, limits.head)
        self._most_lines = limits.lines
        self._most_body = limits.body or float("inf")
        self._most = most
        self._known: dict[bytes, Request] = {}
        self._once: set[int] = set()
        """Hashes of heads that have come once."""
        self._lines: dict[bytes, _Line] = {}
        self.get = self._known.get
        """The request whose head has exactly these bytes, or None."""

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, head: bytes, request: Request) -> None:
        """Remember a head that was accepted, if it is plain, short, and not new."""
        mark = hash(head)
        if mark not in self._once:
            if len(self._once) >= 4 * self._most:
                self._once.clear()
            self._once.add(mark)
        elif len(head) <= _LONGEST and request.plain:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[head] = request

    def read(self, head: bytes) -> Request | None:
        """The request of a head, its empty line included, that is made of plain lines. None: it is the parser's matter."""
        if len(head) > self._longest:
            return None
        first, *lines = head[:-4].split(b"\r\n")
        method, _, target = first[:-9].partition(b" ")
        if (
            not first.endswith(_VERSION)
            or method not in _METHODS
            or not target
            or target[0] != _SLASH
            or target.translate(None, _TARGET)
            or len(lines) > self._most_lines
        ):
            return None
        request = Request()
        request.method = method
        request.target = target
        headers = request.headers
        known = self._lines
        seen = _PLAIN
        for text in lines:
            line = known.get(text) or self._line(text)
            if line is None:
                return None
            header, kind = line
            headers.append(header)
            if kind:
                if kind & seen:
                    return None
                seen |= kind
                if kind == _LENGTH:
                    request.length = int(header[1])
        if not seen & _HOST or (request.length or 0) > self._most_body:
            return None
        self.learn(head, request)
        return request

    def _line(self, text: bytes) -> _Line | None:
        """What a line that is not known says; None if it is not plain."""
        name, colon, value = text.partition(b": ")
        if (
            not colon
            or not name
            or name.translate(None, _TOKEN)
            or not value
            or value[0] == _BLANK
            or value[-1] == _BLANK
            or value.translate(None, _VALUE)
        ):
            return None
        lowered = name.lower()
        kind = _PLAIN
        if lowered == b"host":
            if not is_host(value):
                return None
            kind = _HOST
        elif lowered == b"content-length":
            if len(value) > 18 or value.translate(None, _DIGITS):
                return None
            kind = _LENGTH
        elif lowered in _CAREFUL and (lowered != b"connection" or value.lower() != b"keep-alive"):
            return None
        line = ((name, value), kind)
        if len(text) <= _LONGEST_LINE:
            if len(self._lines) >= self._most:
                self._lines.clear()
            self._lines[text] = line
        return line
