"""Landlock: a process shuts itself out of all files but those named, and of its neighbours. Kernel 5.13 and later.

Constants from the kernel's `include/uapi/linux/landlock.h`. Newer kernels restrict more; each takes what it knows.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""System call numbers, the same on every architecture."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILE_ONLY: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15  # and truncate, ioctl on a device
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_SCOPES: Final = 0b11
"""No abstract unix sockets and no signals outside (ABI 6)."""

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The kernel's Landlock version; 0 when there is none."""
    return max(0, int(_libc.syscall(_CREATE, None, 0, 1)))


def _all_rights(version: int) -> int:
    """Every right on files that this version knows how to withhold."""
    bits = 13 + (version >= 2) + (version >= 3)
    return (1 << bits) - 1 | (1 << 15 if version >= 5 else 0)


def restrict(*, read: Iterable[str], write: Iterable[str]) -> None:
    """Leave this process only `read` (with execution) and `write`; what does not exist is passed over.

    Needs no-new-privileges. Raises `OSError`.
    """
    version = abi()
    if version < 1:
        raise OSError("this kernel has no Landlock")
    rights = _all_rights(version)
    # Fields: rights on files, on the network (none withheld here), scopes. A kernel takes as many as it knows.
    fields = struct.pack("=QQQ", rights, 0, _SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_CREATE, ctypes.create_string_buffer(fields[:size]), ctypes.c_size_t(size), 0)
    try:
        for path in read:
            _allow(ruleset, path, _READ & rights)
        for path in write:
            _allow(ruleset, path, rights)
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def scope() -> None:
    """Keep this process from abstract unix sockets and from signalling processes outside; files are left as they are.

    Does nothing before ABI 6. Needs no-new-privileges. Raises `OSError`.
    """
    if abi() < 6:
        return
    fields = ctypes.create_string_buffer(struct.pack("=QQQ", 0, 0, _SCOPES))
    ruleset = _call(_CREATE, fields, ctypes.c_size_t(24), 0)
    try:
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.fstat(descriptor).st_mode & 0o040000:
            rights &= _FILE_ONLY
        _call(_ADD, ruleset, 1, ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor)), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return result
