"""Why the kernel will not start an image's program, in words: it says only "No such file", of whatever is missing.

The layout of ELF files is that of elf(5), of scripts that of execve(2).
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hilbert.images.tree import shown
from hilbert.kit.mounts import open_in

_OURS: Final = ("/proc/", "/dev/", "/sys/", "/tmp/", "/run/", "/var/openfaas/")  # noqa: S108 - inside a replica
"""What is there is mounted at the start, and not the image's."""
_MACHINES: Final = {3: "386", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 21: "ppc64le", 22: "s390x"}
_RUNS: Final = {"x86_64": {62, 3}, "aarch64": {183, 40}, "riscv64": {243}, "ppc64le": {21}, "s390x": {22}}
_INTERPRETER: Final = 3
"""`PT_INTERP`."""
_HEADERS_MOST: Final = 64
_LINE: Final = 256
"""Bytes of a script's first line that the kernel reads."""
_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")


def why_not(root: int, argv: tuple[str, ...], folder: str, search: str) -> str:
    """What `argv` lacks in the image whose root is open at `root`, to follow "its program X "; empty: it may well start.

    `search` is its PATH. Blocks for some small reads.
    """
    named = argv[0]
    denied = False
    for path in _candidates(named, folder, search):
        if path.startswith(_OURS):
            return ""
        try:
            descriptor = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
                return ""
            continue
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) or not mode & 0o111:
                denied = True
                continue
            return _why_not(root, descriptor)
        except OSError:
            return ""
        finally:
            os.close(descriptor)
    if denied:
        return "is not executable"
    return "is not in the image" if "/" in named else "is not in a folder of the image's PATH"


def _candidates(named: str, folder: str, search: str) -> Iterator[str]:
    if "/" in named:
        yield os.path.join(folder, named)  # noqa: PTH118 - in an image
    else:
        for place in search.split(":"):
            yield os.path.join(folder, place, named)  # noqa: PTH118


def _why_not(root: int, descriptor: int) -> str:
    head = os.pread(descriptor, _LINE, 0)
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split(None, 1)
        interpreter = os.fsdecode(words[0]) if words else ""
        if b"\r" in head.split(b"\n", 1)[0]:
            return "is a script with Windows line ends (CRLF), so its interpreter is not found"
        if interpreter.startswith("/") and _is_missing(root, interpreter):
            return f"is a script for {shown(interpreter)}, which is not in the image"
        return ""
    if not head.startswith(b"\x7fELF") or len(head) < 64:
        return ""
    order = "<" if head[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    here = os.uname().machine
    if machine in _MACHINES and machine not in _RUNS.get(here, _MACHINES) and not _emulates():
        return f"is made for {_MACHINES[machine]}, and this machine is {here}"
    loader = _loader(descriptor, head, order)
    if loader.startswith("/") and _is_missing(root, loader):
        return f"needs {shown(loader)}, which is not in the image"
    return ""


def _loader(descriptor: int, head: bytes, order: str) -> str:
    """What loads a dynamic program; empty for a static one, and for what is no sound file."""
    wide = head[4] == 2
    (offset,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
    if size < (56 if wide else 32):
        return ""
    for number in range(min(count, _HEADERS_MOST)):
        header = os.pread(descriptor, size, offset + number * size)
        if len(header) < size:
            break
        if struct.unpack_from(f"{order}I", header)[0] == _INTERPRETER:
            (at,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", header, 8 if wide else 4)
            return os.fsdecode(os.pread(descriptor, 4096, at).split(b"\0", 1)[0])
    return ""


def _is_missing(root: int, path: str) -> bool:
    if path.startswith(_OURS):
        return False
    try:
        os.close(open_in(root, path, os.O_PATH))
    except OSError as exc:
        return exc.errno in (errno.ENOENT, errno.ENOTDIR)
    return False


def _emulates() -> bool:
    """Whether programs of other machines may run here all the same."""
    try:
        return any(path.name not in ("register", "status") for path in _BINFMT.iterdir())
    except OSError:
        return False
