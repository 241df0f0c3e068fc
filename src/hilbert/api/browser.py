"""What a browser's requests must be for the API to believe that the user, and not some page, wants them (decision 7).

faas-cli, the SDKs and curl send none of the headers that are looked at here, and meet none of the rules.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from hilbert.api.problems import Refusal

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_HOST: Final = re.compile(r"([-A-Za-z0-9._~]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
_LOCAL: Final = (".localhost", ".svc", ".svc.cluster.local", ".internal")
"""Ends of names that no page on the internet can have."""


def is_browser(headers: Mapping[str, str]) -> bool:
    """True if the request says in any way that a browser sent it. Names are in lower case."""
    return (
        "origin" in headers
        or any(name.startswith("sec-fetch-") for name in headers)
        or headers.get("user-agent", "").startswith("Mozilla/")
        or "text/html" in headers.get("accept", "")
    )


def check_host(headers: Mapping[str, str], *, known: frozenset[str] | None) -> None:
    """Raise `Refusal` for a `Host` that is none, and with `known` for a name that might lead here by a stranger's DNS.

    A page of `evil.example` whose name is made to resolve to this gateway is of the same origin as the API. It has no
    password, so it matters where none is asked for (`known` is then a set). Addresses, `localhost`, names without a dot
    and names of a cluster are nobody's to register. An entry of `known` that begins with a dot is an end of names.
    """
    host = headers.get("host", "")
    if host and not _HOST.fullmatch(host):
        raise Refusal(400, "bad-request", "Invalid host header")
    if known is None:
        return
    name = name_of(host)
    if (
        "." not in name
        or _is_address(name)
        or name in known
        or name.endswith((*_LOCAL, *(end for end in known if end.startswith("."))))
    ):
        return
    raise Refusal(
        421, "unknown-host", f"this gateway asks for no password, so it does not answer as {name}; see gateway.hosts"
    )


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Raise `Refusal` (403) for a request that a page of another origin makes, unless it only opens a page.

    Pages cannot forge `Origin` and `Sec-Fetch-Site`. The first comes with every write, the second only over https and
    from this machine. A function's page has the origin `null` (`dataplane.origin`).
    """
    site = headers.get("sec-fetch-site", "")
    navigates = method in _SAFE_METHODS and headers.get("sec-fetch-mode", "") == "navigate"
    if site in ("cross-site", "same-site") and not navigates:
        raise _foreign(method)
    origin = headers.get("origin")
    if origin is None and method not in _SAFE_METHODS:
        origin = headers.get("referer")
    if origin is not None and not _is_own(origin, headers):
        raise _foreign(method)


def check_body(method: str, headers: Mapping[str, str]) -> None:
    """Raise `Refusal` (415) for a browser's write with a body that a plain form could send."""
    if method in _SAFE_METHODS or not is_browser(headers):
        return
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and kind != "application/json":
        raise Refusal(415, "unsupported-media-type", "send a browser's requests as Content-Type: application/json")


def name_of(authority: str) -> str:
    """The host of `HOST[:PORT]`, in lower case, without brackets and a dot at its end."""
    match = _HOST.fullmatch(authority)
    return match[1].strip("[]").rstrip(".").lower() if match else ""


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    # A proxy in front may put its own upstream into Host; the workers pass X-Forwarded-Host from trusted ones only.
    for name in ("host", "x-forwarded-host"):
        match = _HOST.fullmatch(headers.get(name, ""))
        if match and name_of(match[0]) == parts.hostname.rstrip(".").lower():
            given = int(match[2]) if match[2] else {"http": 80, "https": 443}[parts.scheme]
            if given == port:
                return True
    return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _foreign(method: str) -> Refusal:
    what = "read" if method in _SAFE_METHODS else "change"
    return Refusal(403, "forbidden", f"a page of another site may not {what} anything here")
