"""Mode `static`: the files of one folder."""

# ruff: noqa: PTH112, PTH118, PTH119
# The import of pathlib would be paid at every start.

from __future__ import annotations

import mimetypes
import os
import stat
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hilbert.watchdog.call import Call, Work
from hilbert.watchdog.config import ConfigError

if TYPE_CHECKING:
    from hilbert.watchdog.config import Config

_READ: Final = 262144
_INDEX: Final = b"index.html"


class Static:
    """GET and HEAD of regular files below a folder; a folder answers with its `index.html`. Nothing is listed."""

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
        if call.method not in ("GET", "HEAD"):
            call.answer(405, [(b"Allow", b"GET, HEAD")], b"")
            return
        path = unquote_to_bytes(call.raw_path)
        real = _inside(root, path)
        if real is None:
            call.answer(404, _TEXT, b"404 page not found\n")
        elif os.path.isdir(real) and not path.endswith(b"/"):
            call.answer(301, [(b"Location", quote_from_bytes(os.path.basename(path)).encode() + b"/")], b"")
        else:
            self._open(_inside(root, path + _INDEX) if path.endswith(b"/") else real)

    def _open(self, real: bytes | None) -> None:
        call = self._call
        try:
            if real is None:
                raise FileNotFoundError
            self._descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            status = os.fstat(self._descriptor)
        except PermissionError:
            call.answer(403, _TEXT, b"403 Forbidden\n")
            return
        except OSError:
            call.answer(404, _TEXT, b"404 page not found\n")
            return
        if not stat.S_ISREG(status.st_mode):
            self._close()
            call.answer(404, _TEXT, b"404 page not found\n")
            return
        kind, encoding = mimetypes.guess_type(os.fsdecode(real))
        if encoding or not kind:
            kind = "application/octet-stream"
        elif kind.startswith("text/"):
            kind += "; charset=utf-8"
        headers = [
            (b"Content-Type", kind.encode()),
            (b"Last-Modified", formatdate(status.st_mtime, usegmt=True).encode()),
        ]
        call.start(200, headers, length=status.st_size)
        self._left = 0 if call.method == "HEAD" else status.st_size
        self._send()

    def _send(self) -> None:
        while self._left:
            data = os.read(self._descriptor, min(_READ, self._left))
            if not data:
                self._close()
                self._call.abort()  # The file has become shorter than was promised.
                return
            self._left -= len(data)
            if not self._call.write(data) and self._left:
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


_TEXT: Final = [(b"Content-Type", b"text/plain; charset=utf-8")]


def _inside(root: bytes, path: bytes) -> bytes | None:
    """The real path of `path` below `root`; None when it is not there, or outside: by `..` or by a symbolic link."""
    if b"\0" in path:
        return None
    try:
        real = os.path.realpath(os.path.join(root, path.lstrip(b"/")), strict=True)
    except OSError:
        return None
    return real if real == root or real.startswith(root.rstrip(b"/") + b"/") else None
