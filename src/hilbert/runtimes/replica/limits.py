"""Memory, CPU and process limits: control groups where they can be written, per-process limits otherwise.

Both versions of control groups are served: version 2, where the controllers can be handed down to a group of ours, and
version 1 with its hierarchy per controller. Each replica gets a group of its own, `LABEL/NAMESPACE/REPLICA`: all functions
weigh less than the platform's processes, and each namespace has a weight of its own, however many replicas it runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from hilbert.core.model import Resources
from hilbert.core.settings import DefaultLimitSettings

_CONTROLLERS: Final = ("memory", "cpu", "pids")
_PERIOD: Final = 100_000
"""Microseconds in which a CPU limit is kept."""
_WEIGHT: Final = 0.5
"""What all functions together weigh against the rest of the machine, where 1 is a group of the same rank."""
_MEMORY_RESERVE: Final = 256 << 20
"""Bytes, or a tenth of the memory if that is more, that all functions together leave to the rest of the machine."""
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

    def move(self, groups: Sequence[str], others: Sequence[str]) -> None:
        """Put all processes of some groups into others, which are as many. Blocks for some milliseconds. Raises `OSError`."""
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
            _common_limits(pid, allowance)
            _limit_memory(pid, allowance)
            _limit_processes(pid, allowance)
            _give_way(pid)

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        return _own_limits(allowance, memory=True, processes=True)

    def join(self, groups: Sequence[str], pid: int) -> None:  # noqa: ARG002 - the protocol's
        with contextlib.suppress(ProcessLookupError):
            _go_first(pid)
            _give_way(pid)

    def move(self, groups: Sequence[str], others: Sequence[str]) -> None:
        """There are none."""

    def close(self) -> None:
        """Nothing was made."""


class _Groups:
    """What both versions share."""

    _own: tuple[Path, ...]
    """The groups that hold those of the replicas."""

    def close(self) -> None:
        for group in self._own:
            with contextlib.suppress(OSError):
                for namespace in [path for path in group.iterdir() if path.is_dir()]:
                    with contextlib.suppress(OSError):
                        namespace.rmdir()
                group.rmdir()

    def enter(self, groups: Sequence[str], pid: int, allowance: Allowance) -> None:
        with contextlib.suppress(ProcessLookupError):
            _common_limits(pid, allowance)
            for group in groups:
                _write(Path(group) / "cgroup.procs", str(pid))

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        return _own_limits(allowance, memory=False, processes=False)

    def join(self, groups: Sequence[str], pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            _go_first(pid)
            for group in groups:
                _write(Path(group) / "cgroup.procs", str(pid))

    def move(self, groups: Sequence[str], others: Sequence[str]) -> None:
        for group, other in zip(groups, others, strict=True):
            for pid in (Path(group) / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    _write(Path(other) / "cgroup.procs", pid)


class GroupsV2(_Groups):
    """Control groups, version 2."""

    memory = cpu = "cgroup v2"
    whole = True

    def __init__(self, parent: Path) -> None:
        """`parent` is made when it is not there, in a group that hands the controllers down."""
        self._parent = parent
        self._own = (parent,)
        self._prepare()

    def _prepare(self) -> None:
        if not self._parent.is_dir():
            self._parent.mkdir(exist_ok=True)
            _hand_down(self._parent)
        # Again at each start: the machine's memory, or our own limit, may have changed since the folder was made.
        _hint(self._parent / "memory.max", _all_memory(self._parent.parent / "memory.max"))
        _hint(self._parent / "pids.max", _all_processes())
        _hint(self._parent / "cpu.weight", int(100 * _WEIGHT))

    def groups(self, namespace: str, name: str) -> tuple[str, ...]:
        return (str(self._parent / namespace / name),)

    def create(self, namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0) -> None:
        self._prepare()
        group = self._parent / namespace / name
        _make(group, prepare=_hand_down)
        self.weigh(namespace, weight)
        if allowance.processes:
            _write(group / "pids.max", str(allowance.processes))
        if allowance.memory:
            _write(group / "memory.max", str(allowance.memory))
            _hint(group / "memory.swap.max", 0)
            _write(group / "memory.oom.group", "1")
        if allowance.cpu:
            _write(group / "cpu.max", f"{_quota(allowance.cpu)} {_PERIOD}")

    def weigh(self, namespace: str, weight: float) -> None:
        _hint(self._parent / namespace / "cpu.weight", max(1, min(10_000, round(100 * weight))))


class GroupsV1(_Groups):
    """Control groups, version 1: a hierarchy for each controller."""

    def __init__(self, parents: Mapping[str, Path]) -> None:
        """`parents` by controller: `memory`, `pids`, `cpu`, `cpuacct` and `freezer`, as far as they are there."""
        self._parents = parents
        self._own = tuple(dict.fromkeys(parents.values()))
        self.memory = "cgroup v1" if "memory" in parents else ProcessLimits.memory
        self.cpu = "cgroup v1" if "cpu" in parents else ProcessLimits.cpu
        self.whole = {"memory", "cpu", "pids"} <= parents.keys()

    def groups(self, namespace: str, name: str) -> tuple[str, ...]:
        return tuple(str(parent / namespace / name) for parent in dict.fromkeys(self._parents.values()))

    def create(self, namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0) -> None:
        for group in self.groups(namespace, name):
            _make(Path(group))
        memory, pids, cpu = (self._parents.get(controller) for controller in ("memory", "pids", "cpu"))
        if pids is not None:
            _hint(pids / "pids.max", _all_processes())
            if allowance.processes:
                _write(pids / namespace / name / "pids.max", str(allowance.processes))
        if memory is not None:
            _hint(memory / "memory.use_hierarchy", 1)
            _hint(memory / "memory.limit_in_bytes", _all_memory(memory.parent / "memory.limit_in_bytes"))
            if allowance.memory:
                _write(memory / namespace / name / "memory.limit_in_bytes", str(allowance.memory))
                _hint(memory / namespace / name / "memory.memsw.limit_in_bytes", allowance.memory)
        if cpu is not None:
            _hint(cpu / "cpu.shares", int(1024 * _WEIGHT))
            self.weigh(namespace, weight)
            if allowance.cpu:
                _write(cpu / namespace / name / "cpu.cfs_period_us", str(_PERIOD))
                _write(cpu / namespace / name / "cpu.cfs_quota_us", str(_quota(allowance.cpu)))

    def weigh(self, namespace: str, weight: float) -> None:
        if (cpu := self._parents.get("cpu")) is not None:
            _hint(cpu / namespace / "cpu.shares", max(2, round(1024 * weight)))

    def enter(self, groups: Sequence[str], pid: int, allowance: Allowance) -> None:
        super().enter(groups, pid, allowance)
        with contextlib.suppress(ProcessLookupError):
            if "memory" not in self._parents:
                _limit_memory(pid, allowance)
            if "pids" not in self._parents:
                _limit_processes(pid, allowance)
            if "cpu" not in self._parents:
                _give_way(pid)

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        return _own_limits(allowance, memory="memory" not in self._parents, processes="pids" not in self._parents)

    def join(self, groups: Sequence[str], pid: int) -> None:
        super().join(groups, pid)
        with contextlib.suppress(ProcessLookupError):
            if "cpu" not in self._parents:
                _give_way(pid)


def find_limiter(label: str, *, root: Path = Path("/sys/fs/cgroup"), own: str | None = None) -> tuple[Limiter, str]:
    """The best that can be written here, and why it is no better (empty when nothing is missing).

    `label` names our group; `own` is the text of `/proc/self/cgroup`.
    """
    own = Path("/proc/self/cgroup").read_text() if own is None else own
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update({name: path.lstrip("/") for name in controllers.split(",")})
    try:
        return GroupsV2(_version_2(root, paths.get("", ""), label)), ""
    except OSError as exc:
        why = f"cgroup v2: {exc.strerror or exc}"
    parents: dict[str, Path] = {}
    for controller in ("memory", "pids", "cpu", "cpuacct", "freezer"):
        if controller in paths:
            with contextlib.suppress(OSError):
                parents[controller] = _version_1(root / controller, paths[controller], label)
    if parents.keys() - {"freezer"}:
        missing = [name for name in ("memory", "cpu") if name not in parents]
        return GroupsV1(parents), f"cgroup v1: no {' and no '.join(missing)}" if missing else ""
    return ProcessLimits(), why


def _version_2(root: Path, own: str, label: str) -> Path:
    """Where our group goes: in one that hands the controllers down. Raises `OSError`."""
    where = root / own
    available = set((where / "cgroup.controllers").read_text().split())
    missing = [name for name in _CONTROLLERS if name not in available]
    if missing:
        raise OSError(errno.ENOTSUP, f"the controllers {', '.join(missing)} are not handed down to this process")
    # Fails with EBUSY where this process itself sits in a group that is not the root: then its service manager has to
    # hand down a group of its own (systemd: Delegate=yes with DelegateSubgroup=).
    _hand_down(where)
    return where / label


def _make(group: Path, *, prepare: Callable[[Path], None] = lambda _: None) -> None:
    """A replica's group within its namespace's, which goes when the last replica does: perhaps just now."""
    for last in (False, False, True):
        try:
            if not group.parent.is_dir():
                group.parent.mkdir(parents=True, exist_ok=True)
                prepare(group.parent)
            group.mkdir(exist_ok=True)
        except FileNotFoundError:
            if last:
                raise
        else:
            return


def _hand_down(group: Path) -> None:
    _write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in _CONTROLLERS))


def _version_1(hierarchy: Path, own: str, label: str) -> Path:
    where = hierarchy / own
    if not where.is_dir():
        where = hierarchy  # In a container, the path is often the host's.
    if not (where / "cgroup.procs").exists():
        raise OSError(errno.ENOENT, "no such hierarchy")
    parent = where / label
    parent.mkdir(exist_ok=True)
    return parent


def _common_limits(pid: int, allowance: Allowance) -> None:
    if files := _open_files(allowance):
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        files = files if most == resource.RLIM_INFINITY else min(files, most)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    if allowance.file_bytes:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (allowance.file_bytes, allowance.file_bytes))
    _go_first(pid)


def _own_limits(allowance: Allowance, *, memory: bool, processes: bool) -> dict[int, int]:
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


def _go_first(pid: int) -> None:
    """When memory runs out."""
    with contextlib.suppress(PermissionError):
        _write(Path(f"/proc/{pid}/oom_score_adj"), str(_OOM_SCORE))


def _limit_memory(pid: int, allowance: Allowance) -> None:
    if allowance.memory:
        # Data, not address space: runtimes such as Node's reserve far more addresses than they use.
        resource.prlimit(pid, resource.RLIMIT_DATA, (allowance.memory, allowance.memory))


def _limit_processes(pid: int, allowance: Allowance) -> None:
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


def _give_way(pid: int) -> None:
    """Let the platform's processes run first. A session has a priority of its own, where the kernel groups by session."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)
    with contextlib.suppress(OSError):
        _write(Path(f"/proc/{pid}/autogroup"), str(_NICE))


def _all_memory(above: Path) -> int:
    """Bytes for all functions together: what this machine has, or what is left to us, less the reserve."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    most = int(fields["MemTotal"].split()[0]) * 1024
    with contextlib.suppress(OSError, ValueError):
        most = min(most, int(above.read_text()))
    return max(most - max(_MEMORY_RESERVE, most // 10), most // 2)


def _all_processes() -> int:
    """For all functions together: three quarters of the ids that there are."""
    return int(Path("/proc/sys/kernel/pid_max").read_text()) * 3 // 4


def _quota(millis: int) -> int:
    return max(1000, millis * _PERIOD // 1000)  # The kernel takes no less than a millisecond.


def _hint(path: Path, value: int) -> None:
    """Write what is good to have, where it is there to be written."""
    with contextlib.suppress(OSError):
        _write(path, str(value))


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
