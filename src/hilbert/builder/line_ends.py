"""Windows line ends, with which a shell or the kernel does not understand a script."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

_HEAD: Final = 65536
"""Bytes of a file that are looked at."""
_MOST_FILES: Final = 2000


def scripts_with_crlf(folder: Path) -> Iterator[Path]:
    """Shell scripts, and files that name their interpreter, whose lines end in CR LF; relative to `folder`.

    Python and Node.js read such files; a shell takes the CR for a part of the last word.
    """
    for path in islice(sorted(folder.rglob("*")), _MOST_FILES):
        if path.is_symlink() or not path.is_file() or "node_modules" in path.parts:
            continue
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError:
            continue  # The build says what it cannot read.
        if (path.suffix in (".sh", ".bash") and b"\r\n" in head) or (
            head.startswith(b"#!") and head.partition(b"\n")[0].endswith(b"\r")
        ):
            yield path.relative_to(folder)
