"""Which headers pass the gateway, which it sets, which it drops (OpenFaaS facts: hop-by-hop, call id, forwarding)."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence, Set
from itertools import compress
from typing import Final, NamedTuple

from hilbert.dataplane import origin as origins
from hilbert.dataplane.forwarded import Origin
from hilbert.kit.http1 import Headers, Request, Response
from hilbert.kit.http1.forward import HOP_FIELDS, NOT_TRAILING, named_by, passing
from hilbert.kit.http1.heads import FIRST_OWN, HOST, PLAIN, Kind
from hilbert.wire.headers import is_call_id

_REPLACED: Final = HOP_FIELDS | {
    b"host",
    b"content-length",
    b"expect",
    b"x-call-id",
    b"x-start-time",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-uri",
    b"x-forwarded-prefix",
    b"x-openfaas-internal",
    b"x-hilbert-error",
    b"x-hilbert-delivery",
    b"forwarded",
}
"""What a client sends under these names never reaches a function: it would pass for the gateway's word."""

_RESPONSE_REPLACED: Final = HOP_FIELDS | {b"content-length", b"x-call-id", b"x-start-time", b"x-hilbert-error"}

_FROM_FUNCTION: Final = _RESPONSE_REPLACED | origins.ACTS_ON_ORIGIN

NOT_TRAILING_IN: Final = NOT_TRAILING | _REPLACED
NOT_TRAILING_OUT: Final = NOT_TRAILING | _FROM_FUNCTION
"""What does not pass in trailers either."""

_INFORMING: Final = _FROM_FUNCTION | {b"set-cookie", b"www-authenticate", b"content-type", b"content-encoding"}
"""What an interim answer of a function does not tell: there, a browser's cookies would not be confined to the function."""

_FROM_CONTROL: Final = HOP_FIELDS | {b"content-length"}

_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})

_METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD"})


class LetIn(NamedTuple):
    """A call that has passed, so that the same one need not be asked again for a while."""

    state: object
    """The function's, since one path can mean two functions: see `dataplane.inside`."""
    told: object
    """`Guard.told` then."""
    until: float
    incoming: Incoming | None
    """What goes to the function. None: the very head that this is kept with, which must not lead back to itself."""


class Incoming:
    """What the gateway makes of a request's head: where it goes, what passes, what the gateway needs to know itself.

    It depends on the head alone, and is kept with it (`Request.derived`).
    """

    __slots__ = (
        "allowed",
        "browser",
        "call_id",
        "delivered",
        "host",
        "let_in",
        "lines",
        "origin",
        "own",
        "path",
        "segment",
        "start",
        "upgrade",
    )

    def __init__(self, request: Request, origin: Origin | None = None) -> None:
        """`origin` is what a trusted proxy says of where the request comes from."""
        self.origin = origin
        self.browser = False
        """Whether a browser asks; see `dataplane.origin`."""
        self.own = False
        """Whether it asks at a name of the function's namespace alone."""
        self.call_id = b""
        self.delivered = b""
        """What `X-Hilbert-Delivery` says, if it is there: a secret, and whoever queued this call."""
        self.host = b""
        self.let_in: LetIn | None = None
        """Of a function that asks its callers who they are: how the last call with this head passed."""
        self.upgrade = b""
        method = request.method
        self.allowed = method in _METHODS
        """Whether functions can be called with this method."""
        lines, kinds = request.lines, request.kinds
        if kinds is None:
            kinds = bytes([_kind(name.lower(), value) for name, value in request.headers])
        plan = _plans.get(kinds) or _plan(kinds)
        passed = b"\r\n".join(compress(lines, plan.passes))
        if plan.host_at >= 0:
            self.host = lines[plan.host_at][_AFTER_HOST:]
        if plan.noted:
            # A server may ignore that a client would rather speak another protocol (RFC 9110, section 7.8). It is ignored beside a
            # body, which would stand where the other protocol's first bytes belong.
            named = self._note(lines, kinds, upgrade=request.upgrade and request.length == 0)
            if named:  # Headers that Connection names are this hop's too.
                kept = [line for line in compress(lines, plan.passes) if line[: line.index(b":")].lower() not in named]
                passed = b"\r\n".join(kept)
        target = request.target
        called = _called(target)
        self.segment: bytes | None = None
        """The function's name as it stands in the path, None for all that is not `/function/`."""
        if called is not None:
            self.segment = called[1]
            target = target[called.end() :]
            if target[:1] != b"/":
                target = b"/" + target
        self.path = target
        """What the upstream is asked for: `/rest?query` of `/function/NAME/rest?query`, byte for byte."""
        self.start = b"".join((method, b" ", target, b" HTTP/1.1\r\nHost: "))
        """The upstream's request line, and the beginning of the next."""
        framing = b""
        if self.upgrade:
            framing = b"\r\nConnection: Upgrade\r\nUpgrade: " + self.upgrade
        elif request.length is None:
            framing = b"\r\nTransfer-Encoding: chunked"
        elif request.length or method in _WITH_BODY:
            framing = b"\r\nContent-Length: %d" % request.length
        self.lines = b"".join(
            (
                b"\r\n" if passed else b"",
                passed,
                framing,
                b"\r\nX-Forwarded-Host: ",
                (origin and origin.host) or self.host,
                b"\r\nX-Forwarded-Prefix: /function/" + self.segment if self.segment else b"",
                b"" if origin is None else _origin_lines(origin),
                b"\r\n",
            )
        )
        """What follows the Host: header lines that are the same for every call with this head."""

    def _note(self, lines: Sequence[bytes], kinds: bytes, *, upgrade: bool) -> Set[bytes]:
        """Note what only some requests have; returns the names of headers that Connection names."""
        named: Set[bytes] = frozenset()
        for line, kind in zip(lines, kinds, strict=True):
            if kind == _OF_BROWSER:
                self.browser = True
            elif kind == _CALL_ID:
                self.call_id = line[_AFTER_CALL_ID:]
            elif kind == _CONNECTION:
                named = named | named_by(line[_AFTER_CONNECTION:])
            elif kind == _DELIVERED:
                self.delivered = line[_AFTER_DELIVERED:]
            elif kind == _UPGRADE and upgrade:
                self.upgrade = line[_AFTER_UPGRADE:]
        return named


_DROPPED: Final = FIRST_OWN
_OF_BROWSER: Final = FIRST_OWN + 1
_CALL_ID: Final = FIRST_OWN + 2
_CONNECTION: Final = FIRST_OWN + 3
_UPGRADE: Final = FIRST_OWN + 4
_DELIVERED: Final = FIRST_OWN + 5
_AFTER_HOST: Final = len(b"Host: ")
_AFTER_CALL_ID: Final = len(b"X-Call-Id: ")
_AFTER_CONNECTION: Final = len(b"Connection: ")
_AFTER_UPGRADE: Final = len(b"Upgrade: ")
_AFTER_DELIVERED: Final = len(b"X-Hilbert-Delivery: ")


_PASSES: Final = (PLAIN, _OF_BROWSER)


class Plan(NamedTuple):
    """What becomes of a head's lines, by their kinds."""

    passes: tuple[bool, ...]
    host_at: int
    """Which line is the Host; -1: none."""
    noted: bool
    """Some say what the gateway must know."""


_plans: Final[dict[bytes, Plan]] = {}
_MOST_PLANS: Final = 1024


def _plan(kinds: bytes) -> Plan:
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    noted = max(kinds, default=PLAIN) > _DROPPED
    plan = _plans[kinds] = Plan(tuple(kind in _PASSES for kind in kinds), kinds.find(HOST), noted)
    return plan


def sort(name: bytes) -> Kind:
    """What a header is to the gateway, by its name in lower case; see `kit.http1.heads`. Most just pass, and are `PLAIN`."""
    kind = _KINDS.get(name)
    if kind is not None:
        return kind
    browser = origins.tells_of_browser(name)
    if callable(browser):
        return lambda value: _OF_BROWSER if browser(value) else PLAIN
    return _OF_BROWSER if browser else PLAIN


_KINDS: Final[dict[bytes, Kind]] = {
    **dict.fromkeys(_REPLACED, _DROPPED),
    b"host": HOST,
    b"x-call-id": lambda value: _CALL_ID if is_call_id(value.decode("latin-1")) else _DROPPED,
    b"connection": lambda value: _CONNECTION if named_by(value) else _DROPPED,
    b"upgrade": _UPGRADE,
    b"x-hilbert-delivery": _DELIVERED,
}


def _kind(name: bytes, value: bytes) -> int:
    kind = sort(name)
    return kind if isinstance(kind, int) else kind(value)


_called: Final = re.compile(rb"/function/([^/?]*)").match


def _origin_lines(origin: Origin) -> bytes:
    """What a function hears of a request's origin beside X-Forwarded-For and -Host."""
    lines = b"\r\nX-Forwarded-Proto: " + origin.scheme if origin.scheme else b""
    if origin.forwarded:
        pairs = ((b"for", origin.address), (b"host", origin.host), (b"proto", origin.scheme))
        lines += b"\r\nForwarded: " + b";".join(b'%b="%b"' % pair for pair in pairs if pair[1])
    return lines


def aimed(known: Incoming, method: bytes, path: bytes) -> Incoming:
    """The same head with another path: for one request, while others with this head keep theirs."""
    other = _same(known)
    other.path = path
    other.start = b"%b %b HTTP/1.1\r\nHost: " % (method, path)
    return other


def credentials(known: Incoming) -> bytes:
    """The first `Authorization` that goes to the function; empty without one."""
    found = _authorization(known.lines)
    return found[1] if found is not None else b""


def vouched(known: Incoming, token: bytes) -> Incoming:
    """The same head without the caller's credentials, and with this token, if it is one, in their place."""
    other = _same(known)
    lines = known.lines
    while (found := _authorization(lines)) is not None:
        lines = lines[: found.start()] + lines[found.end() :]
    other.lines = b"\r\nAuthorization: Bearer %b%b" % (token, lines) if token else lines
    return other


_authorization: Final = re.compile(rb"\r\n(?i:authorization): *([^\r\n]*)").search


def _same(known: Incoming) -> Incoming:
    """A copy. By hand, which takes a tenth of the time that `copy.copy` takes for slots."""
    other = Incoming.__new__(Incoming)
    other.allowed = known.allowed
    other.browser = known.browser
    other.call_id = known.call_id
    other.delivered = known.delivered
    other.host = known.host
    other.let_in = None
    other.lines = known.lines
    other.origin = known.origin
    other.own = known.own
    other.path = known.path
    other.segment = known.segment
    other.start = known.start
    other.upgrade = known.upgrade
    return other


def incoming(request: Request) -> Incoming:
    """The same for all requests with one head."""
    known: Incoming | None = request.derived
    if known is None:
        known = request.derived = Incoming(request)
    return known


def outgoing(response: Response) -> tuple[bytes, bool, bool]:
    """An upstream's header lines, less what belongs to its hop or is set by the gateway.

    Also whether there is a Content-Type among them, and a Date.
    """
    known: tuple[bytes, bool, bool] | None = response.derived
    if known is None:
        known = response.derived = _render(passing(response.headers, _RESPONSE_REPLACED))
    return known


def from_control(response: Response) -> tuple[bytes, bool, bool]:
    """As `outgoing`, for an answer of the REST API, which may name a call of its own: one that it has queued."""
    known: tuple[bytes, bool, bool] | None = response.derived
    if known is None:
        known = response.derived = _render(passing(response.headers, _FROM_CONTROL))
    return known


def from_function(response: Response) -> tuple[bytes, bool, bool]:
    """As `outgoing`, for an answer of a function: without what would act on the whole origin."""
    known: tuple[bytes, bool, bool] | None = response.derived
    if known is None:
        known = response.derived = _render(_of_function(response.headers))
    return known


def informing(response: Response) -> bytes:
    """The header lines of a function's interim answer."""
    return _render(passing(response.headers, _INFORMING))[0]


def to_browser(response: Response, incoming: Incoming) -> tuple[bytes, bool, bool]:
    """As `from_function`, for a browser: the answer is confined to its function. Not kept: it depends on the request, too."""
    passed = _of_function(response.headers)
    _, typed, dated = _render(passed)
    return origins.confined(passed, incoming.segment, own=incoming.own), typed, dated


def _of_function(headers: Headers) -> Headers:
    passed = passing(headers, _FROM_FUNCTION)
    return [
        header
        for header in passed
        if not (
            len(header[0]) == 16 and header[0].lower() == b"www-authenticate" and origins.asks_for_password(header[1])
        )
    ]


def _render(passed: Headers) -> tuple[bytes, bool, bool]:
    typed = any(len(name) == 12 and name.lower() == b"content-type" for name, _ in passed)
    dated = any(len(name) == 4 and name.lower() == b"date" for name, _ in passed)
    return b"".join([b"%b: %b\r\n" % header for header in passed]), typed, dated


_VERSION: Final = bytes(byte & 0x0F | 0x40 for byte in range(256))
_VARIANT: Final = bytes(byte & 0x3F | 0x80 for byte in range(256))
"""What makes a random number a UUID of version 4 (RFC 9562, section 5.4)."""


class _CallIds:
    """Random UUIDs (version 4), from the kernel's random numbers by the hundred: the call for them is what costs."""

    def __init__(self) -> None:
        self._made: Iterator[bytes] = iter(())

    def __call__(self) -> bytes:
        for made in self._made:
            return made
        raw = bytearray(os.urandom(16 * 128))
        raw[6::16] = raw[6::16].translate(_VERSION)
        raw[8::16] = raw[8::16].translate(_VARIANT)
        self._made = map(b"-".join, struct.iter_unpack("8s4s4s4s12s", raw.hex().encode()))
        return next(self._made)


new_call_id = _CallIds()
