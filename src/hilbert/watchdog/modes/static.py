"""Mode `static`: the files of one folder."""

# ruff: noqa: PTH112, PTH119
# The import of pathlib would be paid at every start.

from __future__ import annotations

import mimetypes
import os
import stat
from collections import deque
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hilbert.watchdog.call import TEXT, Call, Work
from hilbert.watchdog.conditions import NotSatisfiable, Span, precondition_failed, unmodified, wanted
from hilbert.watchdog.config import ConfigError
from hilbert.watchdog.sniff import LOOKED_AT, content_type

if TYPE_CHECKING:
    from hilbert.watchdog.config import Config

_READ: Final = 262144
_INDEX: Final = b"index.html"
_REFUSED: Final = (TEXT, (b"X-Content-Type-Options", b"nosniff"))


class Static:
    """GET and HEAD of regular files below a folder; a folder answers with its `index.html`. Nothing is listed.

    Paths, ranges, conditions and types are those of Go's file server, which of-watchdog's mode `static` is.
    """

    ready = True

    def __init__(self, config: Config) -> None:
        """Raises `ConfigError` when the folder is not there."""
        self._root = os.fsencode(os.path.realpath(config.static_path))
        if not os.path.isdir(self._root):
            raise ConfigError(f"static_path {config.static_path} is not a folder")

    def accept(self, call: Call) -> Work:
        return _File(call, self._root)

    def close(self, *, at_once: bool) -> None: ...


class _File:
    def __init__(self, call: Call, root: bytes) -> None:
        self._call = call
        self._descriptor = -1
        self._pieces: deque[bytes | Span] = deque()
        if call.method not in ("GET", "HEAD"):
            call.answer(405, [(b"Allow", b"GET, HEAD")], b"")
            return
        path = unquote_to_bytes(call.raw_path)
        real = _inside(root, path)
        if path.endswith(b"/" + _INDEX):
            self._redirect(b"./")
        elif real is None:
            self._refuse(404, b"404 page not found")
        elif os.path.isdir(real):
            if path.endswith(b"/"):
                self._open(_inside(root, path + _INDEX))
            else:
                self._redirect(quote_from_bytes(os.path.basename(path)).encode() + b"/")
        elif path.endswith(b"/"):
            self._redirect(b"../" + quote_from_bytes(os.path.basename(path.rstrip(b"/"))).encode())
        else:
            self._open(real)

    def _redirect(self, place: bytes) -> None:
        query = self._call.raw_query
        self._call.answer(301, [(b"Location", place + (b"?" + query if query else b""))], b"")

    def _refuse(self, status: int, text: bytes) -> None:
        self._call.answer(status, list(_REFUSED), text + b"\n")

    def _open(self, real: bytes | None) -> None:
        try:
            if real is None:
                raise FileNotFoundError
            self._descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            status = os.fstat(self._descriptor)
        except PermissionError:
            self._refuse(403, b"403 Forbidden")
            return
        except OSError:
            self._refuse(404, b"404 page not found")
            return
        if stat.S_ISREG(status.st_mode):
            self._answer(os.fsdecode(real), status.st_size, status.st_mtime)
        else:
            self._close()
            self._refuse(404, b"404 page not found")

    def _answer(self, name: str, size: int, modified: float) -> None:
        call = self._call
        dated = (b"Last-Modified", formatdate(modified, usegmt=True).encode())
        try:
            if precondition_failed(call.header, modified):
                self._close()
                call.answer(412, [dated], b"")
                return
            if unmodified(call.header, modified):
                self._close()
                call.answer(304, [dated], b"")
                return
            spans = wanted(call.header, modified, size)
        except NotSatisfiable:
            self._close()
            call.answer(416, [*_REFUSED, (b"Content-Range", b"bytes */%d" % size)], b"no such range\n")
            return
        kind = self._kind(name)
        headers = [(b"Accept-Ranges", b"bytes"), dated]
        if len(spans) > 1:
            kind = self._parts(spans, kind, size)
        elif spans:
            headers.append((b"Content-Range", _content_range(spans[0], size)))
            self._pieces.append(spans[0])
        else:
            self._pieces.append(Span(0, size))
        length = sum(piece.length if isinstance(piece, Span) else len(piece) for piece in self._pieces)
        call.start(206 if spans else 200, [*headers, (b"Content-Type", kind)], length=length)
        if call.method == "HEAD":
            self._pieces.clear()
        self._send()

    def _parts(self, spans: list[Span], kind: bytes, size: int) -> bytes:
        """Lay out a body of several ranges (RFC 9110, 14.6); gives its type."""
        boundary = os.urandom(15).hex().encode()
        for span in spans:
            head = (boundary, kind, _content_range(span, size))
            self._pieces += (b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % head, span)
        self._pieces.append(b"\r\n--%b--\r\n" % boundary)
        return b"multipart/byteranges; boundary=" + boundary

    def _kind(self, name: str) -> bytes:
        """By the name's ending, else by the content."""
        kind, encoding = mimetypes.guess_type(name)
        if encoding or not kind:
            return content_type(os.pread(self._descriptor, LOOKED_AT, 0))
        return (f"{kind}; charset=utf-8" if kind.startswith("text/") else kind).encode()

    def _send(self) -> None:
        while self._pieces:
            piece = self._pieces.popleft()
            if isinstance(piece, Span):
                data = os.pread(self._descriptor, min(_READ, piece.length), piece.start)
                if not data and piece.length:
                    self._close()
                    self._call.abort()  # The file has become shorter than was promised.
                    return
                if len(data) < piece.length:
                    self._pieces.appendleft(Span(piece.start + len(data), piece.length - len(data)))
            else:
                data = piece
            if not self._call.write(data) and self._pieces:
                return
        self._close()
        self._call.end()

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self) -> None: ...

    def on_drain(self) -> None:
        if self._descriptor >= 0:
            self._send()

    def on_stop(self, *, timeout: bool) -> None:  # noqa: ARG002 - part of `Work`
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.start, span.start + span.length - 1, size)


def _inside(root: bytes, path: bytes) -> bytes | None:
    """The real path of `path` below `root`, whose `..` do not lead out of it; None when it is not there, or when a symbolic
    link leads out.
    """
    if b"\0" in path:
        return None
    try:
        real = os.path.realpath(root + os.path.normpath(b"/" + path.lstrip(b"/")), strict=True)
    except OSError:
        return None
    return real if real == root or real.startswith(root.rstrip(b"/") + b"/") else None
