"""Where an answer sends its caller (RFC 9110, 15.4), and what may be told there.

Methods and bodies go on as with Go's clients. The function's own origin gets the same headers again; any other gets what
describes the body and the wanted answer, and nothing else, since every header of a call may be a credential. A way from
https to http is refused, and so is one from another machine's gateway to this machine's own services.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from hilbert.client.codec import Head, Request
from hilbert.client.url import Origin, is_loopback, parse_url
from hilbert.core.errors import BackendError, Invalid

MOST: Final = 10
"""Redirects of one call that are followed."""

_GOES_ALONG: Final = frozenset({"accept", "accept-language", "content-type", "content-language", "content-encoding"})
_OF_THE_BODY: Final = frozenset({"content-type", "content-language", "content-encoding", "content-location"})
_KEPT_IN_URLS: Final = "%/:=&?~#+!$,;'@()*[]"


class RedirectRefused(BackendError):
    """An answer sends the caller where it does not go."""

    code = "redirect-refused"


class Hop(NamedTuple):
    """The next request, and where it goes."""

    origin: Origin
    request: Request


def next_hop(origin: Origin, request: Request, head: Head) -> Hop | None:
    """Where the answer sends its caller; None when it is the answer itself, or the body cannot be sent again.

    Raises `RedirectRefused`.
    """
    if head.status not in (301, 302, 303, 307, 308) or not (location := head.headers.get("location", "")):
        return None
    keeps = head.status in (307, 308)
    if keeps and not request.has_body_again:
        return None
    target, path = _resolve(origin, request, location)
    headers = tuple(request.headers)
    same = (target.scheme, target.host, target.port) == (origin.scheme, origin.host, origin.port)
    if not same:
        _check_way(origin, target, location)
        headers = tuple(pair for pair in headers if pair[0].lower() in _GOES_ALONG)
    if not keeps:
        headers = tuple(pair for pair in headers if pair[0].lower() not in _OF_THE_BODY)
        method = request.method if request.method in ("GET", "HEAD") else "GET"
        return Hop(target, Request(method=method, target=path, headers=headers))
    return Hop(target, msgspec.structs.replace(request, target=path, headers=headers))


def too_many() -> RedirectRefused:
    """What to raise after `MOST` of them."""
    return RedirectRefused(f"the answer redirects more than {MOST} times", hint="it redirects in a circle")


def _resolve(origin: Origin, request: Request, location: str) -> tuple[Origin, str]:
    """Origin without a path, and path with query."""
    base = f"{origin.scheme}://{origin.authority}{origin.path}{request.target}"
    try:
        parts = urlsplit(quote(urljoin(base, location).encode("latin-1"), safe=_KEPT_IN_URLS))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(parts.scheme)
        # A user and password in the location are nobody's: they are left out.
        target = parse_url(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    except (ValueError, Invalid) as exc:
        raise RedirectRefused(
            f"the answer redirects to {location[:200]!r}, which is not an http URL",
            hint="the server that answered set this Location",
        ) from exc
    return target, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _check_way(origin: Origin, target: Origin, location: str) -> None:
    if origin.secure and not target.secure:
        why = "from https to http"
    elif is_loopback(target) and not is_loopback(origin):
        why = "from another machine to services of this one"
    else:
        return
    raise RedirectRefused(
        f"the answer redirects to {location[:200]}, {why}, which is not followed",
        hint="call that address yourself if you trust it",
    )
