"""Reading a document from a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from hilbert.cli.frame.failures import Failed
from hilbert.client.codec import Request
from hilbert.client.transport import Transport
from hilbert.client.url import parse_url

_MOST: Final = 16 * 1024 * 1024
_TIMEOUT: Final = 30.0


def fetch(url: str, environ: Mapping[str, str]) -> bytes:
    """The document at an http(s) URL, at most 16 MiB. Raises `Failed`, and what a connection raises."""
    parts = urlsplit(url)
    origin = parse_url(f"{parts.scheme}://{parts.netloc}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    transport = Transport(origin, environ=environ, extra=[("User-Agent", "hilbert"), ("Accept-Encoding", "identity")])
    try:
        stream = transport.follow(Request(method="GET", target=target), timeout=_TIMEOUT)
        body = stream.read(_MOST)
    finally:
        transport.close()
    if stream.head.status != 200:
        raise Failed(f"{url}: the server answered {stream.head.status}")
    return body
