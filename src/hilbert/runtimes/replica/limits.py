"""Memory, CPU and process limits: what a replica may use, what a way of limiting it offers, and the kernel's limits for a process."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from hilbert.core.model import Resources
from hilbert.core.settings import DefaultLimitSettings

_OOM_SCORE: Final = 500
"""Replicas are chosen before the platform when memory runs out all the same (proc_pid_oom_score_adj(5))."""
_NICE: Final = 10
"""Where no control group weighs CPU time."""


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica may use. 0 is no limit."""

    memory: int = 0
    """Bytes."""
    cpu: int = 0
    """Thousandths of a core."""
    processes: int = 0
    """Processes and threads."""
    open_files: int = 0
    """Of one process."""
    file_bytes: int = 0
    """Of one file: where scratch space is on disk, what may come between two looks at it."""

    @classmethod
    def of(cls, limits: Resources | None, defaults: DefaultLimitSettings) -> Allowance:
        """The function's own limits, and the defaults where it states none."""
        memory = defaults.memory if limits is None or limits.memory is None else limits.memory
        cpu = defaults.cpu if limits is None or limits.cpu is None else limits.cpu
        return cls(memory=memory.units, cpu=cpu.millis, processes=defaults.processes, open_files=defaults.open_files)


class Limiter(Protocol):
    """One way of limiting a replica and everything that it starts."""

    memory: str
    cpu: str
    """How each limit is kept, as shown to users."""
    whole: bool
    """Memory, CPU and processes are limited, and can be ended, for all processes of a replica together."""

    def groups(self, namespace: str, name: str) -> tuple[str, ...]:
        """Paths of the groups that a replica has, or would have."""
        ...

    def create(self, namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0) -> None:
        """Make the groups of a replica; `weight` is its namespace's among namespaces. Raises `OSError`."""
        ...

    def weigh(self, namespace: str, weight: float) -> None:
        """Change the weight of a namespace whose replicas run."""
        ...

    def enter(self, groups: Sequence[str], pid: int, allowance: Allowance) -> None:
        """Put a process, that has started nothing yet, under the limits. Raises `OSError`."""
        ...

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        """For a process of another user, whom only that user can limit: what it sets itself (setrlimit(2)), by resource."""
        ...

    def join(self, groups: Sequence[str], pid: int) -> None:
        """Put a process, that has started nothing yet and has set its own limits, under the rest. Raises `OSError`."""
        ...

    def of_spare(self, spare: Sequence[str], namespace: str, name: str) -> tuple[str, ...]:
        """Paths of the groups that a replica has which moves into a sandbox that has the groups `spare`."""
        ...

    def take_over(
        self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0
    ) -> None:
        """Put what is in the groups `spare` under all limits of a replica, before any code of its runs. Blocks. Raises `OSError`."""
        ...

    def settle(self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float) -> None:
        """Do the rest, which may wait until it runs: weigh it with its namespace, and remove what is left over. Blocks."""
        ...

    def rouse(self, spare: Sequence[str]) -> None:
        """Make a `take_over` within the next milliseconds quicker. Blocks. Nobody may take these groups over meanwhile."""
        ...

    def rouse_for_new(self) -> None:
        """Make a `join` within the next milliseconds quicker. Blocks."""
        ...

    def close(self) -> None:
        """Leave nothing behind, if no replica needs it any more. `create` can still be used."""
        ...


class ProcessLimits:
    """No control groups: the kernel's limits for each process. They bound a process, not a replica."""

    memory = "rlimit for each process"
    cpu = "none"
    whole = False

    def groups(self, namespace: str, name: str) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def create(self, namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0) -> None:
        """Nothing to make."""

    def weigh(self, namespace: str, weight: float) -> None:
        """Processes weigh for themselves."""

    def enter(self, groups: Sequence[str], pid: int, allowance: Allowance) -> None:  # noqa: ARG002
        with contextlib.suppress(ProcessLookupError):
            common_limits(pid, allowance)
            limit_memory(pid, allowance)
            limit_processes(pid, allowance)
            give_way(pid)

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        return own_limits(allowance, memory=True, processes=True)

    def join(self, groups: Sequence[str], pid: int) -> None:  # noqa: ARG002 - the protocol's
        with contextlib.suppress(ProcessLookupError):
            go_first(pid)
            give_way(pid)

    def of_spare(self, spare: Sequence[str], namespace: str, name: str) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def take_over(
        self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0
    ) -> None:
        """A process has its limits from its start, but for those that it sets itself (`own`)."""

    def settle(self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float) -> None:
        """Nothing is left over."""

    def rouse(self, spare: Sequence[str]) -> None:
        """Nothing will be moved."""

    def rouse_for_new(self) -> None:
        """As `rouse`."""

    def close(self) -> None:
        """Nothing was made."""


def common_limits(pid: int, allowance: Allowance) -> None:
    if files := _open_files(allowance):
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        files = files if most == resource.RLIM_INFINITY else min(files, most)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    if allowance.file_bytes:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (allowance.file_bytes, allowance.file_bytes))
    go_first(pid)


def own_limits(allowance: Allowance, *, memory: bool, processes: bool) -> dict[int, int]:
    found = {resource.RLIMIT_CORE: 0}
    if files := _open_files(allowance):
        found[resource.RLIMIT_NOFILE] = files
    if allowance.file_bytes:
        found[resource.RLIMIT_FSIZE] = allowance.file_bytes
    if memory and allowance.memory:
        found[resource.RLIMIT_DATA] = allowance.memory
    if processes and allowance.processes:
        found[resource.RLIMIT_NPROC] = allowance.processes  # Counted in its own user namespace.
    return found


def _open_files(allowance: Allowance) -> int:
    """At most half of what this process may open; 0 is no limit.

    Descriptors on their way through unix sockets are counted by user, and are refused to whoever has a limit below the count
    (unix(7), ETOOMANYREFS): if a function could have as many as the platform, the platform could pass none on.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return allowance.open_files
    return min(allowance.open_files or most, most // 2)


def go_first(pid: int) -> None:
    """When memory runs out."""
    with contextlib.suppress(PermissionError):
        write(Path(f"/proc/{pid}/oom_score_adj"), str(_OOM_SCORE))


def limit_memory(pid: int, allowance: Allowance) -> None:
    if allowance.memory:
        # Data, not address space: runtimes such as Node's reserve far more addresses than they use.
        resource.prlimit(pid, resource.RLIMIT_DATA, (allowance.memory, allowance.memory))


def limit_processes(pid: int, allowance: Allowance) -> None:
    """Bound what the replica's user may start. The kernel counts by user, and from Linux 5.14 on in each user namespace."""
    if not allowance.processes:
        return
    others = 0 if _counted_apart(pid) else _tasks_of(Path(f"/proc/{pid}").stat().st_uid)
    _, most = resource.prlimit(pid, resource.RLIMIT_NPROC)
    wanted = others + allowance.processes
    limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.prlimit(pid, resource.RLIMIT_NPROC, (limit, limit))


def _counted_apart(pid: int) -> bool:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit())
    try:
        own, its = (Path(f"/proc/{who}/ns/user").readlink() for who in ("self", pid))
    except OSError:
        return False
    return release >= (5, 14) and own != its


def _tasks_of(user: int) -> int:
    """Processes and threads of this user."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                if entry.stat().st_uid == user:
                    count += int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[17])
    return count


def give_way(pid: int) -> None:
    """Let the platform's processes run first. A session has a priority of its own, where the kernel groups by session."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)
    with contextlib.suppress(OSError):
        write(Path(f"/proc/{pid}/autogroup"), str(_NICE))


def write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
