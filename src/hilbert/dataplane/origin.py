"""What keeps a function's page away from the API and from other functions, with which it shares an origin in a browser.

Three rules (decision 7). A header that acts on the whole origin never passes. A browser is told to give the answer an
origin of nobody (CSP `sandbox` without `allow-same-origin`), and to send its cookies to that function alone. Other
clients get the last two as the function wrote them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hilbert.kit.http1 import Headers

ACTS_ON_ORIGIN: Final = frozenset(
    {
        b"accept-ch",
        b"accept-ch-lifetime",
        b"activate-storage-access",
        b"alt-svc",
        b"alternate-protocol",
        b"attribution-reporting-register-os-source",
        b"attribution-reporting-register-os-trigger",
        b"attribution-reporting-register-source",
        b"attribution-reporting-register-trigger",
        b"clear-site-data",
        b"critical-ch",
        b"expect-ct",
        b"integrity-policy",
        b"nel",
        b"observe-browsing-topics",
        b"origin-agent-cluster",
        b"public-key-pins",
        b"public-key-pins-report-only",
        b"report-to",
        b"reporting-endpoints",
        b"sec-session-registration",
        b"secure-session-challenge",
        b"secure-session-registration",
        b"service-worker-allowed",
        b"set-cookie2",
        b"set-login",
        b"shared-storage-write",
        b"strict-transport-security",
        b"use-as-dictionary",
        b"x-permitted-cross-domain-policies",
    }
)
"""In lower case: headers with which one answer changes what a browser does with later requests to the same host."""

_REALM: Final = b"restricted"
"""The gateway's own, in lower case: a browser that knows the password for it would send it to whoever asks."""

_SANDBOX: Final = (
    b"Content-Security-Policy: sandbox allow-scripts allow-forms allow-modals allow-popups "
    b"allow-popups-to-escape-sandbox allow-downloads allow-pointer-lock\r\n"
)

_OF_BROWSERS: Final = frozenset(
    {b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"sec-ch-ua", b"upgrade-insecure-requests"}
)
"""Headers of a request that only browsers send, in lower case."""


def tells_of_browser(name: bytes) -> bool | Callable[[bytes], bool]:
    """Whether a header with this name, in lower case, tells that a browser asks; perhaps by its value."""
    return name in _OF_BROWSERS or _BY_VALUE.get(name, False)


_BY_VALUE: Final[dict[bytes, Callable[[bytes], bool]]] = {
    b"user-agent": lambda value: value.startswith(b"Mozilla/"),
    b"accept": lambda value: b"text/html" in value,
}


def asks_for_password(value: bytes) -> bool:
    """Whether a function's `WWW-Authenticate` asks in the gateway's name, however it is quoted."""
    return _REALM in value.replace(b"\\", b"").lower()


def tenant_of(host: bytes, domain: bytes) -> bytes | None:
    """The namespace of a `Host` that is `NAMESPACE.DOMAIN`, with or without a port. An empty domain has none."""
    name = host.partition(b":")[0].lower().rstrip(b".")
    tenant, dot, rest = name.partition(b".")
    return tenant if dot and tenant and rest == domain else None


def confined(passed: Headers, segment: bytes | None, *, own: bool) -> bytes:
    """The header lines of a function's answer to a browser; `segment` names the function in the path.

    `own`: the browser asked at a name that answers functions of this namespace alone, so that no sandbox is needed.
    """
    lines = []
    pdf = False
    for name, value in passed:
        lowered = name.lower()
        if lowered == b"set-cookie":
            value = _own_cookie(value, segment or b"")
        elif lowered == b"content-type":
            # A PDF is shown by the browser's own viewer, which a sandbox would keep out, and is no page of this origin.
            pdf = value.partition(b";")[0].strip().lower() == b"application/pdf"
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines) if pdf or own else b"".join(lines) + _SANDBOX


def _own_cookie(value: bytes, segment: bytes) -> bytes:
    """A cookie that goes back to this function alone, whatever path and domain it was made for."""
    pair, *attributes = value.split(b";")
    kept = [part for part in attributes if part.partition(b"=")[0].strip().lower() not in (b"path", b"domain")]
    return b";".join([pair, *kept, b" Path=/function/" + segment])
