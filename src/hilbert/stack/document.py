"""Reading a document of bounded size from a path or an http(s) URL."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from hilbert.core.errors import InvalidStack

MOST_BYTES: Final = 1024 * 1024
_SECONDS: Final = 30.0


def read_document(source: str) -> str:
    """The text at `source`, at most 1 MiB of UTF-8; a URL has 30 s. Raises `InvalidStack`."""
    try:
        data = _fetch(source) if is_url(source) else _read(Path(source))
    except OSError as exc:
        if isinstance(exc, urllib.error.HTTPError):
            exc.close()
        # urllib's errors are OSErrors, whose `reason` may be an OSError again.
        reason = getattr(exc, "reason", exc)
        shown = getattr(reason, "strerror", None) or str(reason)
        raise InvalidStack(f"cannot read {source}: {shown}") from exc
    except (http.client.HTTPException, ValueError) as exc:
        raise InvalidStack(f"cannot read {source}: {exc}") from exc
    if len(data) > MOST_BYTES:
        raise InvalidStack(f"{source} is larger than {MOST_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise InvalidStack(f"{source}:{line}: not UTF-8 text") from exc


def is_url(source: str) -> bool:
    """Whether `source` is a URL rather than a path."""
    return source.lower().startswith(("http://", "https://"))


def _read(path: Path) -> bytes:
    if not path.is_file() and path.exists():
        raise InvalidStack(f"{path} is not a file")
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _fetch(url: str) -> bytes:
    # Only these handlers: no files, no FTP, also not by a redirect.
    opener = urllib.request.OpenerDirector()
    handlers: tuple[Any, ...] = (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    end = time.monotonic() + _SECONDS
    request = urllib.request.Request(url, headers={"User-Agent": "hilbert"})  # noqa: S310 - only http(s) is handled
    body = bytearray()
    with opener.open(request, timeout=_SECONDS) as answer:
        while len(body) <= MOST_BYTES and (piece := answer.read1(65536)):
            body += piece
            if time.monotonic() > end:
                raise TimeoutError(0, f"no complete answer within {_SECONDS:.0f} s")
    return bytes(body)
