"""Heads that need no parser: those that have come before, and those made of plain lines.

Clients that keep a connection mostly send one head many times, and heads that differ do so in one or two lines. So a
whole head is known by its bytes, with all that was made of it, and a header line is known by its bytes, whichever head
it stands in.

A plain line is one that llhttp takes, too, and in the same way, whatever stands beside it. All others, and all heads
that break a rule or a limit, are left to llhttp: nothing is refused here. A property test holds both against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from hilbert.kit.http1.hosts import is_host
from hilbert.kit.http1.limits import Limits
from hilbert.kit.http1.request import Request

_LONGEST: Final = 2048
"""Bytes of a head that is looked at here."""
_LONGEST_LINE: Final = 1024
"""Bytes of a header line that is worth remembering."""
_LONGEST_NAME: Final = 64
"""Bytes of a header's name that is worth remembering."""

_request_line: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-~]*) HTTP/1\.1\r\n").match
"""A path without a fragment, which is no part of a target."""
_header_line: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([!-~](?:[ -~]*[!-~])?)").fullmatch
_length: Final = re.compile(rb"[0-9]{1,18}").fullmatch
_AFTER_LENGTH: Final = len(b"Content-Length: ")

PLAIN: Final = 0
HOST: Final = 1
LENGTH: Final = 2
_OTHER: Final = 3
"""What a line is. One that is `_OTHER` is left to llhttp, whatever stands beside it."""
FIRST_OWN: Final = 4
"""From here on, up to 255: what a handler tells apart among plain lines."""

Kind = int | Callable[[bytes], int]
"""What lines with one name are, or what they are by their value."""
Sort = Callable[[bytes], Kind]
"""Says what lines are to a handler, from the name in lower case: `PLAIN`, or `FIRST_OWN` and up."""


def _all_alike(_name: bytes) -> Kind:
    return PLAIN


class Shape(NamedTuple):
    """What a head is by the kinds of its lines."""

    plain: bool
    length_at: int
    """Which line is the Content-Length; -1: none."""


class Lines(dict[bytes, int]):
    """What header lines are, by their bytes: whoever looks up one that is new has it looked at.

    A dictionary of this kind sorts all lines of a head in one call, `map(lines.__getitem__, ...)`, without a step of the
    interpreter for those that are known.
    """

    __slots__ = ("_most", "_names", "_sort", "new")

    def __init__(self, sort: Sort, most: int) -> None:
        super().__init__()
        self._sort = sort
        self._most = most
        self._names: dict[bytes, Kind] = {}
        """By name as it is sent: clients spell few."""
        self.new = False
        """A line was looked at that is new, since this was last unset."""

    def __missing__(self, line: bytes) -> int:
        self.new = True
        parts = _header_line(line)
        if parts is None:
            return _OTHER
        kind = self._names.get(parts[1])
        if kind is None:
            kind = self._name(parts[1])
        if not isinstance(kind, int):
            kind = kind(parts[2])
        if len(line) <= _LONGEST_LINE:
            if len(self) >= self._most:
                self.clear()
            self[line] = kind
        return kind

    def _name(self, name: bytes) -> Kind:
        lowered = name.lower()
        kind = _KINDS.get(lowered)
        if kind is None:
            kind = self._sort(lowered)
        elif lowered == b"connection":
            kind = _of_connection(self._sort(lowered))
        if len(name) <= _LONGEST_NAME:
            if len(self._names) >= self._most:
                self._names.clear()
            self._names[name] = kind
        return kind


def _of_connection(own: Kind) -> Kind:
    """What a Connection is by its value: `keep-alive` says what HTTP/1.1 does anyway."""

    def of_value(value: bytes) -> int:
        if value.lower() != b"keep-alive":
            return _OTHER
        return own if isinstance(own, int) else own(value)

    return of_value


_KINDS: Final[dict[bytes, Kind]] = {
    b"host": lambda value: HOST if is_host(value) else _OTHER,
    b"content-length": lambda value: LENGTH if _length(value) else _OTHER,
    **dict.fromkeys((b"connection", b"proxy-connection", b"transfer-encoding", b"upgrade", b"expect"), _OTHER),
}
"""By name in lower case. The last ones say how the request is framed, or what becomes of the connection."""


class Heads:
    """What is known of heads; shared by all connections of a process that have the same limits and handlers of one kind.

    What is found here is what llhttp made, or would make, of the same bytes in the same state, so nothing is read in two ways.
    A head is kept when it has come before and has no new line, so that heads which never come again cost next to nothing. What is
    kept is bounded by forgetting everything once it is full: what is in use is soon back.
    """

    __slots__ = ("_known", "_lines", "_longest", "_most", "_most_body", "_most_lines", "_once", "_shapes", "get")

    def __init__(
        self,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        sort: Sort = _all_alike,
        *,
        most: int = 1024,
    ) -> None:
        """`most` heads of at most 2 KiB each, and as many lines of at most 1 KiB, are kept."""
        self._longest = min(_LONGEST, limits.head)
        self._most_lines = limits.lines
        self._most_body = limits.body
        self._most = most
        self._known: dict[bytes, Request] = {}
        self._lines = Lines(sort, most)
        self._shapes: dict[bytes, Shape] = {}
        """By the kinds of all lines."""
        self._once = [0] * (4 * most)
        """Hashes of heads that have come, each in a place that it shares with others: the last one counts."""
        self.get = self._known.get
        """The request whose head has exactly these bytes, or None."""

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, head: bytes, request: Request) -> None:
        """Remember a head that was accepted, if it is plain, short, and not new."""
        mark = hash(head)
        place = mark % len(self._once)
        if self._once[place] != mark:
            self._once[place] = mark
        elif len(head) <= _LONGEST and request.plain:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[head] = request

    def read(self, head: bytes) -> Request | None:
        """The request of a head, its empty line included, that is made of plain lines. None: it is the parser's matter."""
        if len(head) > self._longest:
            return None
        first = _request_line(head)
        if first is None:
            return None
        lines = head[first.end() : -4].split(b"\r\n")
        if len(lines) > self._most_lines:
            return None
        sorts = self._lines
        sorts.new = False
        kinds = bytes(map(sorts.__getitem__, lines))
        shape = self._shapes.get(kinds) or self._shape(kinds)
        if not shape.plain:
            return None
        request = Request(first[1], first[2], lines, kinds)
        if shape.length_at >= 0:
            request.length = int(lines[shape.length_at][_AFTER_LENGTH:])
            if self._most_body and request.length > self._most_body:
                return None
        if not sorts.new:
            self.learn(head, request)
        return request

    def _shape(self, kinds: bytes) -> Shape:
        plain = _OTHER not in kinds and kinds.count(HOST) == 1 and kinds.count(LENGTH) <= 1
        if len(self._shapes) >= self._most:
            self._shapes.clear()
        shape = self._shapes[kinds] = Shape(plain, kinds.find(LENGTH))
        return shape
