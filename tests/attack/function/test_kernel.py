"""All kinds of system calls, sockets and special files, really asked for from inside a function, at each level.

What a filter forgets is found by those who add to the kernel: `open_tree_attr` came years after `open_tree` had been closed. A new
namespace gives rights over more of the kernel (CVE-2022-0492, control groups). What the kernel counts by user is shared by all that a
user runs, containers included.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
from pathlib import Path
from typing import Final

import pytest

from attack.function.scene import Scene
from hilbert.core.isolation import Promise
from hilbert.core.network import NetworkUse
from hilbert.kit import handover
from hilbert.testing.harness import call
from support.attacker import inside

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"),
]

CLOSED: Final = {
    "mount": 165, "umount2": 166, "pivot_root": 155, "open_tree": 428, "open_tree_attr": 467, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "setns": 308,
    "swapon": 167, "swapoff": 168, "reboot": 169, "acct": 163, "quotactl": 179, "quotactl_fd": 443, "syslog": 103,
    "settimeofday": 164, "clock_settime": 227, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "kexec_load": 246, "kexec_file_load": 320, "iopl": 172, "ioperm": 173, "vhangup": 153, "sethostname": 170,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "add_key": 248, "request_key": 249, "keyctl": 250, "open_by_handle_at": 304,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
}  # fmt: skip
ABSENT: Final = {"clone3": 435, "io_setup": 206, "the first that is not known": 470, "a later one": 600}
OF_OTHERS: Final = {
    "ptrace": 101, "pidfd_getfd": 438, "process_madvise": 440, "process_mrelease": 448, "migrate_pages": 256,
    "move_pages": 279, "name_to_handle_at": 303, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
    "mq_unlink": 241, "inotify_init": 253, "inotify_init1": 294, "inotify_add_watch": 254, "fanotify_init": 300,
    "fanotify_mark": 301,
}  # fmt: skip
"""Refused where a replica shares processes or IPC with others."""
NAMESPACES: Final = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
"""CLONE_NEW*: time, mount, cgroup, uts, ipc, user, pid, net."""


def errno_of(number: int, *arguments: int) -> str:
    """An expression: the error of a system call, 0 if it was done."""
    words = "".join(f", ctypes.c_long({argument})" for argument in (*arguments, *[0] * 6)[:6])
    return f"ctypes.get_errno() if libc.syscall(ctypes.c_long({number}){words}) < 0 else 0"


async def errors(scene: Scene, calls: dict[str, int]) -> dict[str, int]:
    found = await inside(scene.attacker, {name: errno_of(number) for name, number in calls.items()})
    return {name: value for name, (_, value) in found.items()}


async def test_nothing_of_the_kernel_is_open_but_what_is_meant_to_be(scene: Scene) -> None:
    """One replica is tried with all of it: to start one takes longer than all that it tries."""
    await _calls(scene)
    await _namespaces(scene)
    await _sockets(scene)
    await _special_files(scene)


async def _calls(scene: Scene) -> None:
    assert await errors(scene, CLOSED) == dict.fromkeys(CLOSED, errno.EPERM)
    assert await errors(scene, ABSENT) == dict.fromkeys(ABSENT, errno.ENOSYS)
    if scene.level != "bubblewrap":
        assert await errors(scene, OF_OTHERS) == dict.fromkeys(OF_OTHERS, errno.EPERM)


async def _namespaces(scene: Scene) -> None:
    """Each would give capabilities, and with them more of the kernel to attack."""
    unshare, clone = 272, 56
    tried = {f"unshare {flag:#x}": errno_of(unshare, flag) for flag in NAMESPACES}
    tried |= {f"clone {flag:#x}": errno_of(clone, flag | 17) for flag in NAMESPACES if flag != 0x80}
    found = await inside(scene.attacker, tried)
    assert {name: value for name, (_, value) in found.items() if value not in (errno.EPERM, errno.EINVAL)} == {}


SOCKETS = """
import itertools, json, socket
made = []
def attempt(make, *words):
    try:
        found = make(*words)
    except (OSError, OverflowError):
        return
    for one in found if isinstance(found, tuple) else (found,):
        one.close()
    made.append([make.__name__, *words])
for family, kind in itertools.product(range(64), range(1, 11)):
    attempt(socket.socket, family, kind)
    attempt(socket.socketpair, family, kind)
for family, kind, protocol in itertools.product((2, 10), (1, 2, 3, 5), (*range(1, 264), 65535)):
    attempt(socket.socket, family, kind, protocol)
for kind, protocol in itertools.product((2, 3), range(1, 32)):
    attempt(socket.socket, 16, kind, protocol)
print(json.dumps(made))
"""


async def _sockets(scene: Scene) -> None:
    """What can be made is a short list; a name that the kernel gets tomorrow is not on it."""
    _, answer = await call(scene.attacker, SOCKETS.encode())
    made = {tuple(one) for one in json.loads(answer)}
    wanted: set[tuple[object, ...]] = {("socket", family, kind) for family in (2, 10) for kind in (1, 2)}
    wanted |= {("socket", family, 1, 6) for family in (2, 10)} | {("socket", family, 2, 17) for family in (2, 10)}
    ping = {("socket", 2, 2, 1), ("socket", 10, 2, 58)}
    routes = {("socket", 16, 2), ("socket", 16, 3)}
    unix = (
        {("socket", 1, kind) for kind in (1, 2, 5)} | {("socketpair", 1, 2)} if scene.level == "bubblewrap" else set()
    )
    pairs = {("socketpair", 1, 1), ("socketpair", 1, 5)}
    assert made <= wanted | ping | routes | unix | pairs
    assert made >= {("socket", 2, 1), ("socket", 2, 2), *pairs}


DEVICES: Final = (
    "console", "cuse", "fuse", "hpet", "initctl", "kmsg", "kvm", "log", "loop-control", "mem", "net/tun", "port",
    "uinput", "userfaultfd", "vda", "vhost-net", "vhost-vsock", "vsock",
)  # fmt: skip
OUTSIDE: Final = (
    "/",
    "/dev",
    "/dev/shm",
    "/home",
    "/run",
    "/run/lock",
    "/tmp",
    "/var/crash",
    "/var/tmp",
    "/sys/fs/cgroup",
)


async def _special_files(scene: Scene) -> None:
    """No device is made or opened, and whatever is made elsewhere than in the replica's own places is not there outside."""
    if Promise.FILES not in scene.harness.runtime.machine.promises(NetworkUse()):
        assert scene.level == "process"
        return
    mine = "__import__('tempfile').gettempdir()"
    attempts = {
        f"node {kind:o}": f"os.mknod({mine} + '/n{kind}', {kind | 0o666}, os.makedev(1, 1))"
        for kind in (0o20000, 0o60000)
    }
    for name in DEVICES:
        attempts |= {
            f"{how} {name}": f"os.open('/dev/{name}', {flags | os.O_NONBLOCK})"
            for how, flags in (("read", 0), ("write", 1))
        }
    found = await inside(scene.attacker, attempts)
    assert {name for name, (kind, _) in found.items() if kind != "refused"} == set()
    name = f"hb-attack-{os.getpid()}"
    made = {folder: f"os.close(os.open('{folder}/{name}', os.O_CREAT | os.O_WRONLY, 0o6777))" for folder in OUTSIDE}
    made |= {f"{folder} unnamed": f"os.open('{folder}', os.O_TMPFILE | os.O_WRONLY)" for folder in OUTSIDE}
    found = await inside(scene.attacker, made)
    if scene.level == "landlock":
        assert {name for name, (kind, _) in found.items() if kind != "refused"} == set()
    assert [folder for folder in OUTSIDE if Path(folder, name).exists()] == []


INSTANCES = """
import ctypes, os, resource
libc = ctypes.CDLL(None)
count = 0
while count < 4000 and libc.inotify_init() >= 0:
    count += 1
print(count)
"""


async def test_what_the_kernel_counts_by_user(scene: Scene) -> None:
    """Each namespace has a user of its own, or limits are not promised; and the platform keeps room for its own."""
    await _watches(scene)
    await _descriptors_on_their_way(scene)


async def _watches(scene: Scene) -> None:
    """Watches of inotify stand for those of epoll, of which one process can take all within seconds."""
    await call(scene.attacker, INSTANCES.encode())
    _, left = await call(scene.victim, b"import ctypes; print(ctypes.CDLL(None).inotify_init() >= 0)")
    if Promise.LIMITS in scene.harness.runtime.machine.promises(NetworkUse()):
        assert left == b"True\n"
    assert scene.separate_users or Promise.LIMITS not in scene.harness.runtime.machine.promises(NetworkUse())


IN_FLIGHT = """
import array, os, socket
kept = []
sent = 0
try:
    while sent < 100_000:
        pair = socket.socketpair()
        kept.append(pair)
        pair[0].setblocking(False)
        while True:
            pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 250))])
            sent += 250
except OSError as exc:
    if exc.errno != 11:
        print(exc.errno)
import builtins
builtins.kept = kept
print(sent > 0)
"""


async def _descriptors_on_their_way(scene: Scene) -> None:
    """The kernel counts them by user, and refuses whoever may open fewer files than there are on their way."""
    _, answer = await call(scene.attacker, IN_FLIGHT.encode())
    assert answer.splitlines()[-1] == b"True"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        handover.send(ours, b"x", [ours.fileno()])
        message, descriptors = handover.receive(theirs)
        handover.close(descriptors)
    assert (message, len(descriptors)) == (b"x", 1)
