"""Addresses of those who ask, as Go prints them, and who counts as one source of what is bounded for each source."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address | None:
    """An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. None for anything else.

    A zone (`%eth0`) is left out; an IPv4 address written as IPv6 is an IPv4 address.
    """
    port = ""
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        port = f":{port}"
    if port and not (port.startswith(":") and port[1:].isdecimal()):
        return None
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def source_of(text: str) -> str:
    """An IPv4 address, or a /64 of IPv6, which one subscriber has whole; empty for what is no address, such as a unix socket."""
    parsed = parse_address(text)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return "" if parsed is None else str(parsed)
