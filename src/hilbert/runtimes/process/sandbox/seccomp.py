"""A system call filter: what no function needs, and what would reach past its sandbox, is refused.

The rest of the kernel stays open; this is no allow list. Refused calls fail with EPERM, those through another
architecture's entry, too. Numbers from the kernel's system call tables.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_REFUSED: Final = {
    # The kernel's key store knows users, not namespaces; the rest change the machine or inspect it.
    "x86_64": {
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "mount": 165, "umount2": 166,
        "pivot_root": 155, "move_mount": 429, "open_tree": 428, "fsopen": 430, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "swapon": 167, "swapoff": 168, "reboot": 169, "kexec_load": 246, "kexec_file_load": 320,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "acct": 163, "settimeofday": 164,
        "clock_settime": 227, "setns": 308, "open_by_handle_at": 304, "quotactl": 179, "syslog": 103,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "iopl": 172, "ioperm": 173,
    },
    "aarch64": {
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "mount": 40, "umount2": 39,
        "pivot_root": 41, "move_mount": 429, "open_tree": 428, "fsopen": 430, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "swapon": 224, "swapoff": 225, "reboot": 142, "kexec_load": 104, "kexec_file_load": 294,
        "init_module": 105, "finit_module": 273, "delete_module": 106, "acct": 89, "settimeofday": 170,
        "clock_settime": 112, "setns": 268, "open_by_handle_at": 265, "quotactl": 60, "syslog": 116,
        "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    },
}  # fmt: skip
_UNSHARE: Final = {"x86_64": 272, "aarch64": 97}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_X32_BIT: Final = 0x40000000

_LOAD, _EQUAL, _GREATER_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_ABSENT: Final = 0x00050000 | errno.ENOSYS
_NAMESPACE_FLAGS: Final = 0x7E020000
"""CLONE_NEW*: user, pid, net, ipc, uts, cgroup, mount."""


def supported() -> bool:
    return os.uname().machine in _ARCHITECTURES


def program(*, unix_sockets: bool, machine: str = "") -> bytes:
    """The filter as an array of `struct sock_filter`.

    Without `unix_sockets`, `socket(AF_UNIX)` is refused: where there is one file system for all, that is what keeps a
    function from the sockets of the platform and of other functions. `socketpair` and inherited sockets still work.
    """
    machine = machine or os.uname().machine
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        lines += [(_GREATER_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, _REFUSE)]
    for number in sorted(_REFUSED[machine].values()):
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    # A new namespace would give capabilities, and with them more of the kernel to attack. The flags of clone3 lie behind
    # a pointer that a filter cannot follow; the C library falls back to clone when it seems absent.
    lines += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ABSENT)]
    for number in (_UNSHARE[machine], _CLONE[machine]):
        lines += [
            (_EQUAL, 0, 5, number),
            (_LOAD, 0, 0, 16),
            (_AND, 0, 0, _NAMESPACE_FLAGS),
            (_EQUAL, 1, 0, 0),
            (_RETURN, 0, 0, _REFUSE),
            (_LOAD, 0, 0, 0),
        ]
    if not unix_sockets:
        lines += [(_EQUAL, 0, 3, _SOCKET[machine]), (_LOAD, 0, 0, 16), (_EQUAL, 0, 1, 1), (_RETURN, 0, 0, _REFUSE)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
