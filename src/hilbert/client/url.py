"""Where the gateway is: its URL taken apart, and the proxy that leads there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from hilbert.core.errors import Invalid

DEFAULT_URL: Final = "http://127.0.0.1:8080"


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host, port and base path of a URL."""

    scheme: str
    host: str
    """Without the brackets of IPv6."""
    port: int
    path: str = ""
    """Prefix of every request's path, without a slash at its end."""
    userinfo: str = ""
    """`USER:PASSWORD`, decoded; of proxies only."""

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """For the `Host` header: without the port if it is the scheme's own."""
        return self.host_port if self.port != _PORTS[self.scheme] else self.bracketed

    @property
    def host_port(self) -> str:
        return f"{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


_PORTS: Final = {"http": 80, "https": 443}


def parse_url(text: str) -> Origin:
    """Parse `[http[s]://]HOST[:PORT][/PATH]`; scheme and host lose their upper case. Raises `Invalid`."""
    url = text.strip()
    if not url.lower().startswith(("http://", "https://")):
        if "://" in url:
            raise Invalid(f"({text}) is not a gateway URL", hint="write it like http://127.0.0.1:8080")
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise Invalid(f"({text}) is not a gateway URL: {exc}", hint="write it like http://127.0.0.1:8080") from exc
    if not host or parts.query or parts.fragment or not url.isprintable() or not url.isascii() or " " in url:
        raise Invalid(f"({text}) is not a gateway URL", hint="write it like http://127.0.0.1:8080")
    userinfo = parts.netloc.rpartition("@")[0]
    return Origin(
        scheme=parts.scheme,
        host=host,
        port=_PORTS[parts.scheme] if port is None else port,
        path=parts.path.rstrip("/"),
        userinfo=unquote(userinfo),
    )


def is_loopback(origin: Origin) -> bool:
    """Whether the name or address is this machine's own."""
    return origin.host == "localhost" or origin.host.startswith("127.") or origin.host == "::1"


def find_proxy(origin: Origin, environ: Mapping[str, str]) -> Origin | None:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name for `origin`, if any.

    As Go's clients do, loopback is never reached through a proxy. Raises `Invalid` for a proxy that is no HTTP URL.
    """
    if is_loopback(origin):
        return None
    named = _lookup(environ, f"{origin.scheme}_proxy") or _lookup(environ, "all_proxy")
    if not named or _excluded(origin, _lookup(environ, "no_proxy")):
        return None
    try:
        proxy = parse_url(named)
    except Invalid:
        proxy = None
    if proxy is None or proxy.secure:
        # Its text may hold a password, so it is not shown.
        raise Invalid(
            f"the proxy for {origin.scheme} is not an http URL",
            hint=f"write {origin.scheme.upper()}_PROXY like http://proxy.example.com:3128, or except the host in NO_PROXY",
        )
    return proxy


def _lookup(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _excluded(origin: Origin, no_proxy: str) -> bool:
    for entry in no_proxy.lower().split(","):
        pattern = entry.strip().lstrip(".").removeprefix("*.")
        if (
            pattern == "*"
            or pattern in (origin.host, origin.host_port)
            or (pattern and origin.host.endswith(f".{pattern}"))
        ):
            return True
    return False
