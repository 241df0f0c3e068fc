"""Who really asks, where a proxy that we trust stands in front: X-Forwarded-For, -Host, -Proto and Forwarded (RFC 7239).

A proxy adds what it knows at the end of a list that it may have been sent, so lists are read from their end, and no further than the
last address that a trusted proxy vouches for. What stands before that is the client's word and is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, NamedTuple

from hilbert.core.addresses import Address, parse_address, source_of
from hilbert.kit.http1 import Headers
from hilbert.kit.http1.hosts import is_host

Network = IPv4Network | IPv6Network

_SCHEMES: Final = frozenset({b"http", b"https"})
_PAIR: Final = re.compile(rb'\s*([A-Za-z]+)=(?:"([^"\\]*)"|([^";,\s]*))\s*')
MOST: Final = 64
"""Proxies in a row that are looked at."""


class Origin(NamedTuple):
    """What trusted proxies say of a request; empty where they say nothing."""

    address: bytes = b""
    """The client's, as it was written: with or without a port."""
    host: bytes = b""
    scheme: bytes = b""
    source: str = ""
    """The address as it is counted: an IPv4 address, or an IPv6 network of 64 bits."""
    forwarded: bool = False
    """It was said with Forwarded."""


class TrustedProxies:
    """The address ranges whose word is taken."""

    def __init__(self, networks: str) -> None:
        """`networks` are CIDR ranges or addresses, separated by commas. Raises `ValueError`."""
        self._networks: Sequence[Network] = [
            ip_network(one.strip(), strict=False) for one in networks.split(",") if one.strip()
        ]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def origin(self, headers: Headers) -> Origin:
        """What a trusted peer's request says of its origin.

        X-Forwarded-For wins over Forwarded: most proxies set the first and pass the second on as their client sent it.
        """
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            lowered = name.lower()
            if lowered in _FIELDS:
                found.setdefault(lowered, []).append(value)
        host = _last(found.get(b"x-forwarded-host"))
        scheme = _last(found.get(b"x-forwarded-proto")).lower()
        address, said = b"", False
        if b"x-forwarded-for" in found:
            addresses = [one.strip() for one in b",".join(found[b"x-forwarded-for"]).split(b",")]
            address = self._outermost(reversed(addresses))
        elif b"forwarded" in found:
            elements = [_pairs(element) for element in _split(b",".join(found[b"forwarded"]))]
            address = self._outermost(element.get(b"for", b"") for element in reversed(elements))
            host, scheme = elements[-1].get(b"host", b""), elements[-1].get(b"proto", b"").lower()
            said = True
        return Origin(
            address,
            host if is_host(host) else b"",
            scheme if scheme in _SCHEMES else b"",
            source_of(address.decode("ascii", "replace")),
            said,
        )

    def _outermost(self, addresses: Iterable[bytes]) -> bytes:
        """The first address that is no trusted proxy's, going outwards; empty if the nearest is none at all."""
        outermost = b""
        for number, text in enumerate(addresses):
            address = parse_address(text.decode("ascii", "replace"))
            if address is None or number >= MOST:
                break
            outermost = text
            if not self.has(address):
                break
        return outermost


_FIELDS: Final = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"})


def _last(values: list[bytes] | None) -> bytes:
    """The last of a list that may have come in several fields."""
    return values[-1].rpartition(b",")[2].strip() if values else b""


def _split(value: bytes) -> list[bytes]:
    """The elements of a list, whose quoted strings may hold commas."""
    elements, quoted, start = [], False, 0
    for at, byte in enumerate(value):
        if byte == 0x22:
            quoted = not quoted
        elif byte == 0x2C and not quoted:
            elements.append(value[start:at])
            start = at + 1
    return [*elements, value[start:]]


def _pairs(element: bytes) -> dict[bytes, bytes]:
    """The parameters of one element of Forwarded; none if it is malformed."""
    pairs: dict[bytes, bytes] = {}
    for part in element.split(b";"):
        match = _PAIR.fullmatch(part)
        if match is None:
            return {}
        pairs[match[1].lower()] = match[2] if match[2] is not None else match[3]
    return pairs
