"""What single settings may be, and what is made of them. Settings as such are `core.settings`."""

from __future__ import annotations

from collections.abc import Iterable

from hilbert.core.errors import InvalidSettings


def check_url(key: str, url: str) -> None:
    """An http or https URL of a server. Raises `InvalidSettings`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        good = False
    if not good or parts.username is not None or not url.isascii() or any(char <= " " for char in url):
        raise InvalidSettings(f"{key}: must be a URL without a user, a query or a fragment, not {url!r}")


def check_networks(key: str, networks: str) -> None:
    """CIDR ranges or addresses, separated by commas. Raises `InvalidSettings`."""
    from ipaddress import ip_network

    for one in networks.split(","):
        try:
            ip_network(one.strip(), strict=False)
        except ValueError as exc:
            raise InvalidSettings(
                f"{key}: {one.strip()!r} is not an address or network", hint="write it like 10.0.0.0/8 or 192.0.2.7"
            ) from exc


def short_digest(text: str) -> int:
    """A short stable digest (FNV-1a, 32 bits), so that each state directory has its own sockets."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def nearest(key: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else "see docs/reference/settings.md"
