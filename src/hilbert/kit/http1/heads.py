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
from typing import Any, Final

from hilbert.kit.http1.hosts import is_host
from hilbert.kit.http1.limits import Limits
from hilbert.kit.http1.request import Request

_LONGEST: Final = 2048
"""Bytes of a head that is looked at here."""
_LONGEST_LINE: Final = 1024
"""Bytes of a header line that is worth remembering."""

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
"""From here on: what a handler tells apart among plain lines."""

_KINDS: Final = {
    b"host": HOST,
    b"content-length": LENGTH,
    **dict.fromkeys((b"connection", b"proxy-connection", b"transfer-encoding", b"upgrade", b"expect"), _OTHER),
}
"""By name in lower case. The last ones say how the request is framed, or what becomes of the connection."""


def _all_alike(_name: bytes, _value: bytes) -> int:
    return PLAIN


class Heads:
    """What is known of heads; shared by all connections of a process that have the same limits and handlers of one kind.

    What is found here is what llhttp made, or would make, of the same bytes in the same state, so nothing is read in two ways.
    A head is kept when it has come before and has no new line, so that heads which never come again cost next to nothing. What is
    kept is bounded by forgetting everything once it is full: what is in use is soon back.
    """

    __slots__ = ("_kinds", "_known", "_longest", "_most", "_most_body", "_most_lines", "_once", "_sort", "get")

    def __init__(
        self,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        sort: Callable[[bytes, bytes], int] = _all_alike,
        *,
        most: int = 1024,
    ) -> None:
        """`sort` says what a plain line is to the handler, from its name in lower case and its value: `PLAIN`, or `FIRST_OWN` and up.

        `most` heads of at most 2 KiB each, and as many lines of at most 1 KiB, are kept.
        """
        self._longest = min(_LONGEST, limits.head)
        self._most_lines = limits.lines
        self._most_body = limits.body
        self._sort = sort
        self._most = most
        self._known: dict[bytes, Request] = {}
        self._kinds: dict[bytes, int] = {}
        """What the lines are that are known."""
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
        kinds: list[Any] = list(map(self._kinds.get, lines))  # of int, once what is new is filled in
        new = None in kinds
        while None in kinds:
            at = kinds.index(None)
            kinds[at] = self._kind(lines[at])
        if _OTHER in kinds or kinds.count(HOST) != 1:
            return None
        request = Request(first[1], first[2], lines, kinds)
        if LENGTH in kinds:
            if kinds.count(LENGTH) > 1:
                return None
            request.length = int(lines[kinds.index(LENGTH)][_AFTER_LENGTH:])
            if self._most_body and request.length > self._most_body:
                return None
        if not new:
            self.learn(head, request)
        return request

    def _kind(self, line: bytes) -> int:
        """What a line is that is not known."""
        parts = _header_line(line)
        if parts is None:
            return _OTHER
        name, value = parts.groups()
        lowered = name.lower()
        kind = _KINDS.get(lowered, PLAIN)
        if kind == PLAIN or (kind == _OTHER and lowered == b"connection" and value.lower() == b"keep-alive"):
            kind = self._sort(lowered, value)  # `keep-alive` says what HTTP/1.1 does anyway.
        elif kind == _OTHER or (not is_host(value) if kind == HOST else not _length(value)):
            return _OTHER
        if len(line) <= _LONGEST_LINE:
            if len(self._kinds) >= self._most:
                self._kinds.clear()
            self._kinds[line] = kind
        return kind
