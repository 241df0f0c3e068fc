"""The command line of bubblewrap for one replica of an image, and what it promises."""

from __future__ import annotations

from typing import Final

from hilbert.core.isolation import Promise
from hilbert.runtimes.oci.messages import BLOCK, FILTER, INFO
from hilbert.runtimes.oci.program import Program
from hilbert.runtimes.replica import seccomp


class Bubblewrap:
    """Makes arguments. What is the same for all replicas is worked out once."""

    name = "bubblewrap"

    def __init__(self, executable: str, features: str, *, scratch: int) -> None:
        """`features` is what `bwrap --help` prints. `scratch`: most bytes in `/tmp`, and half as much each in `/dev/shm` and the root."""
        self.executable = executable
        self.scratch = scratch
        self.filter = seccomp.program(apart=True) if seccomp.supported() else b""
        """Of system calls."""
        self._can_size = "--size" in features
        head = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        head += ["--new-session", "--cap-drop", "ALL"]  # The network is that of its process, which made one of its own.
        head += ["--disable-userns"] if "--disable-userns" in features else []
        head += ["--proc", "/proc", "--dev", "/dev", *self._tmpfs("/dev/shm", scratch // 2), "--remount-ro", "/dev"]  # noqa: S108
        head += self._tmpfs("/tmp", scratch)  # noqa: S108 - its own
        self._head = [*head, "--info-fd", str(INFO), "--block-fd", str(BLOCK), "--clearenv"]
        if self.filter:
            self._head += ["--seccomp", str(FILTER)]

    def arguments(self, program: Program, *, host: str, bound: bool) -> bytes:
        """To be read from a descriptor: a function's environment is nobody's to see in a list of processes.

        The program itself is not among them.
        """
        words = [*self._head, "--uid", str(program.user), "--gid", str(program.group), "--hostname", host[:64]]
        words += ["--die-with-parent"] if bound else []
        for name, value in program.environment.items():
            words += ["--setenv", name, value]
        words += ["--chdir", program.folder]
        return b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)

    def promises(self, *, limits: bool) -> frozenset[Promise]:
        """What it holds, with a network of its own. `limits`: the machine can keep that promise."""
        held = set(ALWAYS)
        if self.filter:
            held.add(Promise.SYSTEM_CALLS)
        if self._can_size and self.scratch:
            held.add(Promise.SCRATCH)
        if limits:
            held.add(Promise.LIMITS)
        return frozenset(held)

    def _tmpfs(self, place: str, most: int) -> list[str]:
        size = ["--size", str(most)] if self._can_size and most else []
        return ["--perms", "1777", *size, "--tmpfs", place]


ALWAYS: Final = frozenset(
    {Promise.FILES, Promise.PROCESSES, Promise.SOCKETS, Promise.IPC, Promise.NETWORK, Promise.REMAINS}
)
"""What namespaces of its own give, whatever made them."""
