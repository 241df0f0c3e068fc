"""The files of the log: `NUMBER.jsonl`, each named by the number of its first line. Blocking: called from threads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from hilbert.audit.chain import Line, decode
from hilbert.kit.files import create_file

FULL: Final = 4 * 1024 * 1024
"""Bytes after which a new file begins."""
KEY_FILE: Final = "key"
_NAME: Final = re.compile(r"([0-9]{20})\.jsonl")


class Segment(NamedTuple):
    """One file."""

    first: int
    """Number of its first line."""
    path: Path


def segments(folder: Path) -> list[Segment]:
    """In order. Raises `OSError`."""
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(Segment(int(match[1]), path) for match, path in found)


def path_of(folder: Path, first: int) -> Path:
    return folder / f"{first:020d}.jsonl"


def raw_lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends; of the last one only what is whole."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line[:-1]


def parse(line: bytes) -> Line | None:
    """None for what is no line of ours."""
    try:
        return decode(line)
    except (msgspec.MsgspecError, ValueError):
        return None


def load_key(folder: Path) -> bytes:
    """The key that signs checkpoints. Raises `OSError`, and `ValueError` for a file that is none."""
    text = (folder / KEY_FILE).read_bytes().strip()
    key = bytes.fromhex(text.decode("ascii"))
    if len(key) != 32:
        raise ValueError("must be 64 hexadecimal digits")
    return key


def load_or_make_key(folder: Path) -> bytes:
    """As `load_key`, after making one if there is none."""
    create_file(folder / KEY_FILE, os.urandom(32).hex().encode() + b"\n")
    return load_key(folder)
