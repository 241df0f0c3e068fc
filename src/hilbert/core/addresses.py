"""Addresses of those who ask, as Go prints them, and who counts as one source of what is bounded for each source."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

_NAT64: Final = ip_network("64:ff9b::/96")

METADATA: Final = (
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure, with its agent: a public address
    "192.0.0.192/32",  # Oracle
    "fd00:42::42/128",  # Scaleway
    "fd00:ec2::/32",  # Amazon
    "fd20:ce::/32",  # Google
)
"""Where clouds keep metadata, credentials included, besides link-local addresses."""

_NEVER: Final = tuple(map(ip_network, (*METADATA, "0.0.0.0/8", "64:ff9b:1::/48")))
"""The last one is for translators of a site's own (RFC 8215): any IPv4 address may lie behind it."""

_NO_INTERNET: Final = tuple(
    map(
        ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
"""Special-purpose networks of which `ipaddress` knows some, depending on Python's version (RFC 6890, RFC 9637, RFC 9602, RFC 3879)."""


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


def is_callable(address: Address, *, allow_private: bool) -> bool:
    """Whether a stranger may make the platform call this address. Pure.

    Never: loopback, link-local (where most clouds keep their metadata), other metadata services, multicast, unspecified and
    reserved addresses, and IPv6 forms that lead to such an IPv4 address.
    """
    if any(address in network for network in _NEVER):
        return False
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_callable(inner, allow_private=allow_private)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if address.is_private or not address.is_global or any(address in network for network in _NO_INTERNET):
        return allow_private and not address.is_reserved
    return not address.is_reserved


def is_here(address: Address) -> bool:
    """Whether it is one of this machine's own: only those can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as trial:
        try:
            trial.bind((str(address), 0))
        except OSError:
            return False
    return True
