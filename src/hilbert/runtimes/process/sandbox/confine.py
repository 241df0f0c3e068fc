"""What a process does to itself so that it can do less: namespaces, user, capabilities, Landlock, system call filter.

Runs inside the starting replica, single-threaded, before any code of the function. Any failure is fatal: a replica never
runs with less than was planned.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any, Final

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_SYS_CAPSET: Final = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)


def confine(entry: dict[str, Any]) -> None:
    """`entry` is `contract.Entry` as plain data. Raises `OSError`."""
    if entry.get("own_network") or entry.get("etc"):
        from hilbert.runtimes.process import network

        if entry.get("own_network"):
            network.make_own(with_mounts=bool(entry.get("etc")) or entry.get("spare", False))
        network.cover(entry.get("etc", ()))
    if entry.get("landlock") or entry.get("filter") or entry.get("drop"):
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if entry.get("landlock"):
        from hilbert.runtimes.process.sandbox import landlock

        landlock.restrict(read=entry.get("read", ()), write=entry.get("write", ()))
    elif entry.get("scope"):
        from hilbert.runtimes.process.sandbox import landlock

        landlock.scope()
    user = entry.get("user")
    if user:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
    if entry.get("drop"):
        _drop_capabilities()
    if user or entry.get("drop"):
        prctl(_PR_SET_DUMPABLE, 1)  # Otherwise /proc/self belongs to root and even /dev/stdout cannot be opened.
    for kind, most in entry.get("limits", {}).items():
        import resource

        _, hard = resource.getrlimit(int(kind))
        lowered = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(int(kind), (lowered, lowered))
    if entry.get("filter"):
        from hilbert.runtimes.replica import seccomp

        _install(seccomp.program(apart=False, metadata=entry.get("metadata", False)))


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument. Raises `OSError`."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


def _drop_capabilities() -> None:
    number = _SYS_CAPSET.get(os.uname().machine)
    if number is None:
        raise OSError("capabilities cannot be given up on this machine's architecture")
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # The last one, or no right to drop any: then there are none to drop.
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    nothing = ctypes.create_string_buffer(bytes(24))
    if _libc.syscall(ctypes.c_long(number), header, nothing) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"capset: {os.strerror(code)}")


def _install(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    given = Program(len(program) // 8, program)
    if _libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(given), 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"seccomp: {os.strerror(code)}")
