"""What is a host, as it stands in a Host field or in a URL's authority (RFC 9110, section 7.2; RFC 3986, section 3.2.2)."""

from __future__ import annotations

from typing import Final

_NAME: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%"
_ADDRESS: Final = b"abcdefABCDEF0123456789:."
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
        if not bracket or b":" not in host or host.translate(None, _ADDRESS):
            return False
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(b":")
        if not host or host.translate(None, _NAME):
            return False
    if not colon:
        return True
    return colon == b":" and (not port or (port.isdigit() and len(port) <= 5 and int(port) <= 65535))
