"""A system call filter: what no function needs, and what would reach past its sandbox, is refused.

Sockets are an allow list: families, types and protocols. The rest of the kernel stays open. Refused calls fail with EPERM,
those through another architecture's entry, too. Numbers from the kernel's system call tables.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

REFUSED: Final = {
    # The kernel's key store knows users, not namespaces; the rest change the machine or inspect it.
    "x86_64": {
        "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "mount": 165, "umount2": 166,
        "pivot_root": 155, "move_mount": 429, "open_tree": 428, "fsopen": 430, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "swapon": 167, "swapoff": 168, "reboot": 169, "kexec_load": 246, "kexec_file_load": 320,
        "open_tree_attr": 467, "fsconfig": 431, "quotactl_fd": 443, "init_module": 175, "finit_module": 313, "delete_module": 176, "acct": 163, "settimeofday": 164,
        "clock_settime": 227, "setns": 308, "open_by_handle_at": 304, "quotactl": 179, "syslog": 103,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "iopl": 172, "ioperm": 173,
    },
    "aarch64": {
        "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "mount": 40, "umount2": 39,
        "pivot_root": 41, "move_mount": 429, "open_tree": 428, "fsopen": 430, "fsmount": 432, "fspick": 433,
        "mount_setattr": 442, "swapon": 224, "swapoff": 225, "reboot": 142, "kexec_load": 104, "kexec_file_load": 294,
        "open_tree_attr": 467, "fsconfig": 431, "quotactl_fd": 443, "init_module": 105, "finit_module": 273, "delete_module": 106, "acct": 89, "settimeofday": 170,
        "clock_settime": 112, "setns": 268, "open_by_handle_at": 265, "quotactl": 60, "syslog": 116,
        "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    },
}  # fmt: skip

_ALONE: Final = {
    # Name another process, or what belongs to every process of a user. The first argument of those in `_SELF` may be 0.
    "x86_64": {
        "migrate_pages": 256, "move_pages": 279, "process_madvise": 440, "process_mrelease": 448, "pidfd_getfd": 438,
        "ptrace": 101, "name_to_handle_at": 303, "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65,
        "semctl": 66, "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240,
        "mq_unlink": 241, "inotify_add_watch": 254, "inotify_init": 253, "inotify_init1": 294, "fanotify_init": 300,
        "fanotify_mark": 301,
    },
    "aarch64": {
        "migrate_pages": 238, "move_pages": 239, "process_madvise": 440, "process_mrelease": 448, "pidfd_getfd": 438,
        "ptrace": 117, "name_to_handle_at": 264, "shmget": 194, "shmat": 196, "shmctl": 195, "semget": 190,
        "semop": 193, "semctl": 191, "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187,
        "mq_open": 180, "mq_unlink": 181, "inotify_add_watch": 27, "inotify_init1": 26, "fanotify_init": 262,
        "fanotify_mark": 263,
    },
}  # fmt: skip
_METADATA: Final = {
    # Change what a file is rather than what is in it: by path, or by a descriptor that is open for reading.
    "x86_64": {
        "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "setxattr": 188,
        "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
        "setxattrat": 463, "removexattrat": 466, "file_setattr": 469,
    },
    "aarch64": {
        "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "utimensat": 88, "setxattr": 5,
        "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "setxattrat": 463,
        "removexattrat": 466, "file_setattr": 469,
    },
}  # fmt: skip
_SELF: Final = {
    "x86_64": {
        "prlimit64": 302, "sched_setaffinity": 203, "sched_setparam": 142, "sched_setscheduler": 144,
        "sched_setattr": 314,
    },
    "aarch64": {
        "prlimit64": 261, "sched_setaffinity": 122, "sched_setparam": 118, "sched_setscheduler": 119,
        "sched_setattr": 274,
    },
}  # fmt: skip
_SETPRIORITY: Final = {"x86_64": 141, "aarch64": 140}
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_FCNTL: Final = {"x86_64": 72, "aarch64": 25}
_IOCTL: Final = {"x86_64": 16, "aarch64": 29}
_PRCTL: Final = {"x86_64": 157, "aarch64": 167}
_UNSHARE: Final = {"x86_64": 272, "aarch64": 97}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_IO_SETUP: Final = {"x86_64": 206, "aarch64": 0}
"""Asynchronous I/O is counted for the whole machine (`fs.aio-max-nr`): one function could leave none for others."""
_NEWER: Final = 470
"""The first number that was not looked at here: what later kernels add (Linux 6.17 ends at 469) is absent inside."""
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_SOCKETPAIR: Final = {"x86_64": 53, "aarch64": 199}
_X32_BIT: Final = 0x40000000

UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, _RAW, SEQPACKET = 1, 2, 3, 5
TYPE: Final = 0xF
"""Of a socket's type, without SOCK_CLOEXEC and SOCK_NONBLOCK."""
PROTOCOLS: Final = (0, 1, 6, 17, 58)
"""The default, ICMP (as datagrams: ping), TCP, UDP, ICMPv6."""
_SET_OWNER: Final = (8, 15, 10)
"""F_SETOWN, F_SETOWN_EX, F_SETSIG: have the kernel signal another process."""
SET_LEASE: Final = 1024
"""F_SETLEASE: whoever opens the file next is held up for as long as 45 seconds, the platform and other replicas too."""
_NOTIFY: Final = 1026
"""F_NOTIFY: tells what others do in a folder, as inotify does."""
_SET_OWNER_IOCTL: Final = (0x8901, 0x8902)
"""FIOSETOWN, SIOCSPGRP: the same."""
_FILE_IOCTLS: Final = (0x6600, 0x5800, 0x7600)
"""Kinds of ioctl, by their second byte: flags and attributes of a file (chattr), its project, verity, encryption and generation.
They change what a file is through a descriptor that is open for reading, as `file_setattr` does."""
_SUBVOLUME_FLAGS: Final = 0x4008941A
"""BTRFS_IOC_SUBVOL_SETFLAGS: the same for a subvolume. Others of its kind are of use to programs that copy files."""
_SCHED_CORE: Final = 62
"""PR_SCHED_CORE names another process."""

_LOAD, _EQUAL, _GREATER_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EPERM
_ABSENT: Final = 0x00050000 | errno.ENOSYS
NAMESPACE_FLAGS: Final = 0x7E020000
"""CLONE_NEW*: user, pid, net, ipc, uts, cgroup, mount."""
_ALL_BITS: Final = 0xFFFFFFFF

Line = tuple[int, int, int, int]
"""One `struct sock_filter`: code, jump when true, jump when false, value."""


class Check(NamedTuple):
    """One argument of a call, its low 32 bits: the kernel takes these arguments as `int`."""

    argument: int
    values: Sequence[int]
    mask: int = _ALL_BITS


def supported() -> bool:
    return os.uname().machine in _ARCHITECTURES


def program(*, apart: bool, metadata: bool = True, machine: str = "") -> bytes:
    """The filter as an array of `struct sock_filter`.

    `apart`: the replica has processes, IPC and files of its own. Otherwise what names other processes is refused, and
    every way to a unix socket but a connected pair. `metadata`: files may change their mode, owner, times and attributes,
    because none that could be named belongs to this user without being the replica's own.
    """
    machine = machine or os.uname().machine
    lines: list[Line] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        lines += [(_GREATER_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, _REFUSE)]
    lines += [(_GREATER_EQUAL, 0, 1, _NEWER), (_RETURN, 0, 0, _ABSENT)]
    refused = set(REFUSED[machine].values())
    refused |= set() if apart else set(_ALONE[machine].values())
    refused |= set() if metadata else set(_METADATA[machine].values())
    for number in sorted(refused):
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    # A new namespace would give capabilities, and with them more of the kernel to attack. The flags of clone3 lie behind
    # a pointer that a filter cannot follow; the C library falls back to clone when it seems absent.
    for number in (_CLONE3, _IO_SETUP[machine]):
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ABSENT)]
    for number in (_UNSHARE[machine], _CLONE[machine]):
        lines += _only(number, [[Check(0, (0,), NAMESPACE_FLAGS)]])
    lines += _sockets(machine, apart=apart)
    controls = [] if metadata else [Check(1, _FILE_IOCTLS, 0xFF00), Check(1, (_SUBVOLUME_FLAGS,))]
    if not apart:
        controls.append(Check(1, _SET_OWNER_IOCTL))
        for number in _SELF[machine].values():
            lines += _only(number, [[Check(0, (0,))]])
        lines += _only(_SETPRIORITY[machine], [[Check(0, (0,)), Check(1, (0,))]])  # PRIO_PROCESS
        lines += _only(_IOPRIO_SET[machine], [[Check(0, (1,)), Check(1, (0,))]])  # IOPRIO_WHO_PROCESS
        lines += _never(_FCNTL[machine], Check(1, (*_SET_OWNER, SET_LEASE, _NOTIFY)))
        lines += _never(_PRCTL[machine], Check(0, (_SCHED_CORE,)))
    else:
        lines += _never(_FCNTL[machine], Check(1, (SET_LEASE,)))
    lines += _never(_IOCTL[machine], *controls) if controls else []
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def program_of_newer(machine: str = "") -> bytes:
    """A filter of those calls alone that libraries of container runtimes do not know by name yet (libseccomp 2.5)."""
    machine = machine or os.uname().machine
    lines: list[Line] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
        (_GREATER_EQUAL, 0, 1, _NEWER),  # Those of x32, too.
        (_RETURN, 0, 0, _ABSENT),
    ]
    for number in (REFUSED[machine]["open_tree_attr"], _IO_SETUP[machine]):
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ABSENT)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _sockets(machine: str, *, apart: bool) -> list[Line]:
    internet = [Check(0, (INET, INET6)), Check(1, (STREAM, DATAGRAM), TYPE), Check(2, PROTOCOLS)]
    routes = [Check(0, (NETLINK,)), Check(1, (_RAW, DATAGRAM), TYPE), Check(2, (0,))]  # For names of interfaces.
    unix = [Check(0, (UNIX,)), Check(1, (STREAM, DATAGRAM, SEQPACKET), TYPE)]
    # A pair of datagram sockets could send to any path; the others are connected for good.
    pair = [Check(0, (UNIX,)), Check(1, (STREAM, SEQPACKET), TYPE)]
    return [
        *_only(_SOCKET[machine], [internet, routes, unix] if apart else [internet, routes]),
        *_only(_SOCKETPAIR[machine], [unix if apart else pair]),
    ]


def _only(number: int, ways: Sequence[Sequence[Check]]) -> list[Line]:
    """Refuse the call unless all checks of one way hold."""
    body: list[Line] = []
    for way in ways:
        block: list[Line] = [(_RETURN, 0, 0, _ALLOW)]
        for check in reversed(way):
            block = [*_matching(check, otherwise=len(block)), *block]
        body += block
    return _guarded(number, [*body, (_RETURN, 0, 0, _REFUSE)])


def _never(number: int, *checks: Check) -> list[Line]:
    """Refuse the call when one of the checks holds."""
    blocks = [line for check in checks for line in (*_matching(check, otherwise=1), (_RETURN, 0, 0, _REFUSE))]
    return _guarded(number, [*blocks, (_RETURN, 0, 0, _ALLOW)])


def _matching(check: Check, *, otherwise: int) -> list[Line]:
    """Go on behind these lines when the check holds, else `otherwise` lines further."""
    lines: list[Line] = [(_LOAD, 0, 0, 16 + 8 * check.argument)]
    if check.mask != _ALL_BITS:
        lines.append((_AND, 0, 0, check.mask))
    last = len(check.values) - 1
    lines += [
        (_EQUAL, last - position, 0 if position < last else otherwise, value)
        for position, value in enumerate(check.values)
    ]
    return lines


def _guarded(number: int, body: list[Line]) -> list[Line]:
    """The body, which ends the filter, for this call alone."""
    return [(_EQUAL, 0, len(body), number), *body]
