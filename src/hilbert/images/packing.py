"""Packed layers as they are read: gzip, zstd or plain, with everything counted and digested on the way."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from hilbert.images.tree import Hostile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_WIDEST_WINDOW: Final = 27
"""As a power of two: 128 MiB, the most that the zstd program takes without being told (`zstd(1)`)."""
_PIECE: Final = 256 * 1024


class Unpacked(io.RawIOBase):
    """The bytes of a layer's tar file. Raises `Hostile` once there are more than `most`."""

    def __init__(self, source: BinaryIO, *, most: int, told: Callable[[int], None] | None = None) -> None:
        """`told` is told how many bytes have been read at each reading."""
        super().__init__()
        self._source = source
        self._most = most
        self._told = told
        self._digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._source.read(_PIECE if size < 0 else min(size, _PIECE))
        except (OSError, EOFError, zlib.error, zstd.ZstdError) as exc:
            raise Hostile(f"a layer cannot be unpacked: {exc}") from exc
        self._digest.update(data)
        self.size += len(data)
        if self.size > self._most:
            raise Hostile(f"it unpacks to more than {self._most} bytes")
        if self._told is not None:
            self._told(len(data))
        return data

    def finish(self) -> str:
        """Read what follows the archive's end; the digest of it all."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._digest.hexdigest()}"


@contextlib.contextmanager
def unpacking(path: Path, *, most: int, told: Callable[[int], None] | None = None) -> Iterator[Unpacked]:
    """Read a packed layer. Which packing it has, its first bytes say, since media types are often wrong."""
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        source: BinaryIO
        if magic.startswith(_GZIP):
            source = cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
        elif magic == _ZSTD:
            options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WIDEST_WINDOW}
            source = cast("BinaryIO", zstd.ZstdFile(file, "rb", options=options))
        else:
            source = file
        yield Unpacked(source, most=most, told=told)
