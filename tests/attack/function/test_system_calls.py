"""System calls that name other processes, files or sockets, really made from inside a function, at each level.

Landlock says nothing on metadata, priorities and limits (as its documentation states), and a filter that lists families
forgets some (CVE-2021-26708 was reached through AF_VSOCK).
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from attack.function.scene import Scene
from support.attacker import inside, refused
from support.processes import ProcessHarness

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"),
]

_MQ_OPEN, _MQ_UNLINK = 240, 241


def _state(path: Path) -> tuple[int, int, int, int]:
    seen = path.lstat()
    return seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns


async def test_processes_of_others_are_neither_limited_nor_slowed(scene: Scene) -> None:
    attempts: dict[str, str] = {}
    for pid in scene.others:
        attempts |= {
            f"limits of {pid}": f"__import__('resource').prlimit({pid}, 7, (0, 0))",
            f"priority of {pid}": f"os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
            f"processors of {pid}": f"os.sched_setaffinity({pid}, [0])",
            f"scheduler of {pid}": f"os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
            f"disk priority of {pid}": f"system(libc.syscall(251, 1, {pid}, 3 << 13))",
            f"pages of {pid}": f"system(libc.syscall(256, {pid}, 0, None, None))",
            f"signals to {pid}": f"__import__('fcntl').fcntl(1, 8, {pid})" if scene.level != "bubblewrap" else "1/0",
        }
    if scene.level != "bubblewrap":
        attempts["priority of the user"] = "os.setpriority(os.PRIO_USER, os.getuid(), 19)"
    before = [(os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid)) for pid in scene.others]
    assert refused(await inside(scene.attacker, attempts))
    assert [(os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid)) for pid in scene.others] == before
    own = {
        "limits": "__import__('resource').setrlimit(7, (100, 200))",
        "priority": "os.nice(1) > 0",
        "processors": "os.sched_setaffinity(0, os.sched_getaffinity(0))",
    }
    assert {kind for kind, _ in (await inside(scene.attacker, own)).values()} == {"done"}, "its own are its own matter"


async def test_metadata_of_closed_files_stays_as_it_is(scene: Scene) -> None:
    if scene.level == "process" and not scene.separate_users:
        assert "files" not in scene.harness.runtime.machine.sandbox.promises(network=False, own_user=False)
        return
    before = [_state(path) for path in scene.closed]
    attempts: dict[str, str] = {}
    for path in map(str, scene.closed):
        attempts |= {
            f"mode of {path}": f"os.chmod({path!r}, 0o777)",
            f"owner of {path}": f"os.chown({path!r}, os.getuid(), os.getgid())",
            f"times of {path}": f"os.utime({path!r}, (0, 0))",
            f"attribute of {path}": f"os.setxattr({path!r}, 'user.x', b'y')",
            f"watch on {path}": f"system(libc.inotify_add_watch(libc.inotify_init(), {path.encode()!r}, 0xfff))",
        }
    assert refused(await inside(scene.attacker, attempts))
    assert [_state(path) for path in scene.closed] == before


FILE_CONTROLS = {
    "flags": (0x40086602, 8), "flags, for 32 bits": (0x40046602, 4), "generation": (0x40087602, 8),
    "generation of ext4": (0x40086604, 8), "project": (0x401C5820, 28), "verity": (0x40806685, 128),
    "encryption": (0x800C6613, 12), "a key for encryption": (0xC0506617, 80), "flags of a subvolume": (0x4008941A, 8),
}  # fmt: skip
"""Calls of ioctl that change what a file is, and the bytes that each takes."""


async def test_attributes_of_files_that_may_be_read_stay_as_they_are(scene: Scene) -> None:
    """A descriptor that is open for reading is enough for chattr: only whose the file is counts."""
    if scene.level == "process" and not scene.separate_users:
        return  # It promises nothing on files.
    ioctl, higher = "__import__('fcntl').ioctl", 1 << 32
    attempts = {}
    for path in ("__import__('json').__file__", "'/etc/hosts'", "os.path.dirname(os.__file__)", "'/etc/resolv.conf'"):
        opened = f"os.open({path}, os.O_RDONLY)"
        attempts |= {
            f"{what} of {path}": f"{ioctl}({opened}, {number}, bytes({size}))"
            for what, (number, size) in FILE_CONTROLS.items()
        }
        attempts[f"flags of {path}, with more bits"] = (
            f"system(libc.syscall(16, {opened}, ctypes.c_long({higher | 0x40086602}), bytes(8)))"
        )
    if scene.harness.images:
        # Here the files are its image's, which it has a copy of.
        attempts = {name: code for name, code in attempts.items() if "/etc/" in name}
    assert refused(await inside(scene.attacker, attempts))


async def test_files_that_others_open_are_not_leased_or_watched(scene: Scene) -> None:
    """A lease holds up whoever opens the file next, in the kernel: a control process, or another replica's start."""
    fcntl, name = "__import__('fcntl').fcntl", "__import__('json').__file__"
    own = "__import__('tempfile').gettempdir() + '/own'"
    attempts = {
        f"lease {kind} of {place}": f"{fcntl}(os.open({place}, os.O_RDONLY), 1024, {kind})"
        for place in (name, "os.__file__", own)
        for kind in (0, 1)
    }
    attempts["lease by another name"] = f"system(libc.fcntl(os.open({name}, os.O_RDONLY), 1024, 0))"
    if scene.level != "bubblewrap":
        attempts["watch on a folder"] = f"{fcntl}(os.open(os.path.dirname({name}), os.O_RDONLY), 1026, 0x80000008)"
    made = f"os.close(os.open({own}, os.O_CREAT | os.O_RDONLY, 0o600))"
    assert (await inside(scene.attacker, {"a file of its own": made}))["a file of its own"][0] == "done"
    assert refused(await inside(scene.attacker, attempts))
    works = {
        "flags": f"{fcntl}(1, 3) is not None",
        "a lock of its own": f"__import__('fcntl').flock(os.open({own}, os.O_RDONLY), 2)",
    }
    assert {kind for kind, _ in (await inside(scene.attacker, works)).values()} == {"done"}


@pytest.fixture
def mailbox(harness: ProcessHarness) -> Iterator[socket.socket]:
    """A datagram socket of the platform's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        box.bind(str(harness.folder / "run" / "mailbox"))
        (harness.folder / "run" / "mailbox").chmod(0o777)
        box.setblocking(False)
        yield box


async def test_no_socket_reaches_what_is_not_the_network(scene: Scene, mailbox: socket.socket) -> None:
    path = mailbox.getsockname()
    strange = {
        f"family {family}, type {kind}": f"socket.socket({family}, {kind}).close()"
        for family in (3, 4, 5, 9, 15, 17, 21, 26, 29, 30, 31, 35, 36, 37, 38, 39, 40, 41, 43, 44, 45)
        for kind in (1, 2, 3, 5)
    }
    attempts = {
        **strange,
        "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)",
        "sctp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)",
        "mptcp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
        "audit": "socket.socket(16, 3, 9)",
        "a pair sends": f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {path!r})",
        "a stream sends": f"socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)[0].sendto(b'x', {path!r})",
        "packets send": f"socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0].connect({path!r})",
    }
    assert refused(await inside(scene.attacker, attempts))
    with pytest.raises(BlockingIOError):
        mailbox.recv(10)
    works = {
        "internet": "socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()",
        "datagrams": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()",
        "names of interfaces": "socket.if_nameindex()",
        "a pair": "socket.socketpair()[0].close()",
    }
    assert {kind for kind, _ in (await inside(scene.attacker, works)).values()} == {"done"}


@pytest.fixture
def shared() -> Iterator[tuple[int, str]]:
    """Shared memory, a message queue and a semaphore of the platform's, open to everybody: their key and name."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x68000000 | os.getpid()
    name = f"hilbert-test-{os.getpid()}"
    made = [libc.shmget(key, 4096, 0o3666), libc.msgget(key, 0o3666), libc.semget(key, 1, 0o3666)]
    queue = libc.syscall(_MQ_OPEN, name.encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
    try:
        assert min(*made, queue) >= 0, made
        yield key, name
    finally:
        libc.shmctl(made[0], 0, None)
        libc.msgctl(made[1], 0, None)
        libc.semctl(made[2], 0, 0)
        libc.syscall(_MQ_UNLINK, name.encode())
        if queue >= 0:
            os.close(queue)


async def test_nothing_is_shared_by_keys_or_names(scene: Scene, shared: tuple[int, str]) -> None:
    key, name = shared
    attempts = {
        "shared memory": f"system(libc.shmget({key}, 0, 0))",
        "message queue": f"system(libc.msgget({key}, 0))",
        "semaphore": f"system(libc.semget({key}, 0, 0))",
        "named queue": f"system(libc.syscall({_MQ_OPEN}, {name.encode()!r}, os.O_RDWR, 0, None))",
    }
    assert refused(await inside(scene.attacker, attempts))
