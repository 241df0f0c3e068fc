"""What is a host, as it stands in a Host field or in a URL's authority (RFC 9110, section 7.2; RFC 3986, section 3.2.2)."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

_NAME: Final = re.compile(rb"(?:[-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_ADDRESS: Final = re.compile(rb"[0-9A-Fa-f:.]{2,45}")
_LONGEST: Final = 512
_MOST_KNOWN: Final = 1024

KNOWN_HOSTS: Final[set[bytes]] = {b""}
"""Some that were found to be hosts: most requests name one of a few."""


def is_host(text: bytes) -> bool:
    """Whether `text` is a host with or without a port. Empty is allowed: a URL without authority has no host."""
    if text in KNOWN_HOSTS:
        return True
    if len(text) > _LONGEST or not _check(text):
        return False
    if len(KNOWN_HOSTS) >= _MOST_KNOWN:
        KNOWN_HOSTS.clear()
        KNOWN_HOSTS.add(b"")
    KNOWN_HOSTS.add(text)
    return True


def _check(text: bytes) -> bool:
    if text.startswith(b"["):
        host, bracket, rest = text[1:].partition(b"]")
        if not bracket or not _is_address(host):
            return False
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(b":")
        if not _NAME.fullmatch(host):
            return False
    if not colon:
        return True
    return colon == b":" and (not port or (port.isdigit() and len(port) <= 5 and int(port) <= 65535))


def _is_address(text: bytes) -> bool:
    """Whether it is an address of IPv6 as it stands in brackets: without a zone, which means something on one machine alone."""
    if not _ADDRESS.fullmatch(text):
        return False
    try:
        IPv6Address(text.decode("ascii"))
    except ValueError:
        return False
    return True
