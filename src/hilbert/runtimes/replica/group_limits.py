"""Limits by control groups, where they can be written, and how the best way of limiting is found.

Both versions are served: version 2, where the controllers can be handed down to a group of ours, and version 1 with its
hierarchy per controller. Each replica gets a group of its own, `LABEL/NAMESPACE/REPLICA`: all functions weigh less than the
platform's processes, and each namespace has a weight of its own, however many replicas it runs.

To put a process into another group takes 4 to 15 ms, which is a good part of a start in a spare sandbox: the kernel waits
until every processor has taken note. In version 1, such a replica keeps the groups of the spare, where its limits are set
before its code runs, and moves for processor time alone, once it runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hilbert.runtimes.replica.groups import end_groups, remove_groups
from hilbert.runtimes.replica.limits import (
    Allowance,
    Limiter,
    ProcessLimits,
    common_limits,
    give_way,
    go_first,
    limit_memory,
    limit_processes,
    own_limits,
    write,
)

_CONTROLLERS: Final = ("memory", "cpu", "pids")
_PERIOD: Final = 100_000
"""Microseconds in which a CPU limit is kept."""
_WEIGHT: Final = 0.5
"""What all functions together weigh against the rest of the machine, where 1 is a group of the same rank."""
_MEMORY_RESERVE: Final = 256 << 20
"""Bytes, or a tenth of the memory if that is more, that all functions together leave to the rest of the machine."""
_SWEEPS: Final = 100
"""Most looks at a group for processes to be moved to another."""


class _Groups:
    """What both versions share."""

    _own: tuple[Path, ...]
    """The groups that hold those of the replicas."""
    _home: Path | None = None
    """Lists the processes of the group that this process is in, if it is one that ours are in."""

    def close(self) -> None:
        for group in self._own:
            with contextlib.suppress(OSError):
                for namespace in [path for path in group.iterdir() if path.is_dir()]:
                    with contextlib.suppress(OSError):
                        namespace.rmdir()
                group.rmdir()

    def rouse_for_new(self) -> None:
        """By moving this process to where it is: the kernel waits for that as for any other move, and then no more for a while."""
        if self._home is not None:
            with contextlib.suppress(OSError):
                write(self._home, str(os.getpid()))

    def enter(self, groups: Sequence[str], pid: int, allowance: Allowance) -> None:
        with contextlib.suppress(ProcessLookupError):
            common_limits(pid, allowance)
            for group in groups:
                write(Path(group) / "cgroup.procs", str(pid))

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        return own_limits(allowance, memory=False, processes=False)

    def join(self, groups: Sequence[str], pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            go_first(pid)
            for group in groups:
                write(Path(group) / "cgroup.procs", str(pid))


class GroupsV2(_Groups):
    """Control groups, version 2."""

    memory = cpu = "cgroup v2"
    whole = True

    def __init__(self, parent: Path) -> None:
        """`parent` is made when it is not there, in a group that hands the controllers down."""
        self._parent = parent
        self._own = (parent,)
        self._home = _home(parent)
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
            write(group / "pids.max", str(allowance.processes))
        if allowance.memory:
            write(group / "memory.max", str(allowance.memory))
            _hint(group / "memory.swap.max", 0)
            write(group / "memory.oom.group", "1")
        if allowance.cpu:
            write(group / "cpu.max", f"{_quota(allowance.cpu)} {_PERIOD}")

    def of_spare(self, spare: Sequence[str], namespace: str, name: str) -> tuple[str, ...]:  # noqa: ARG002
        return self.groups(namespace, name)

    def take_over(
        self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float = 1.0
    ) -> None:
        """It moves: the kernel waits until every processor has taken note, some 4 to 15 ms, unless that has just happened."""
        self.create(namespace, name, allowance, weight=weight)
        move(spare, self.groups(namespace, name))

    def settle(self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float) -> None:  # noqa: ARG002
        end_groups(spare)

    def rouse(self, spare: Sequence[str]) -> None:
        """Have the kernel wait already, by moving a process to where it is."""
        with contextlib.suppress(OSError):  # It has ended.
            procs = Path(spare[0]) / "cgroup.procs"
            for pid in procs.read_text().split()[:1]:
                write(procs, pid)

    def weigh(self, namespace: str, weight: float) -> None:
        _hint(self._parent / namespace / "cpu.weight", max(1, min(10_000, round(100 * weight))))


class GroupsV1(_Groups):
    """Control groups, version 1: a hierarchy for each controller."""

    def __init__(self, parents: Mapping[str, Path]) -> None:
        """`parents` by controller: `memory`, `pids`, `cpu`, `cpuacct` and `freezer`, as far as they are there."""
        self._parents = parents
        self._own = tuple(dict.fromkeys(parents.values()))
        self._home = next(filter(None, map(_home, self._own)), None)
        self._weighing = tuple(dict.fromkeys(parents[name] for name in ("cpu", "cpuacct") if name in parents))
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
        if memory is not None:
            _hint(memory / "memory.use_hierarchy", 1)
            _hint(memory / "memory.limit_in_bytes", _all_memory(memory.parent / "memory.limit_in_bytes"))
        if cpu is not None:
            _hint(cpu / "cpu.shares", int(1024 * _WEIGHT))
            self.weigh(namespace, weight)
        self._limit({parent: parent / namespace / name for parent in self._own}, allowance)

    def _limit(self, groups: Mapping[Path, Path], allowance: Allowance) -> None:
        """`groups` are those of one replica or spare sandbox, by where their hierarchy has ours."""
        memory, pids, cpu = (groups.get(self._parents.get(name, Path())) for name in ("memory", "pids", "cpu"))
        if pids is not None and allowance.processes:
            write(pids / "pids.max", str(allowance.processes))
        if memory is not None and allowance.memory:
            write(memory / "memory.limit_in_bytes", str(allowance.memory))
            _hint(memory / "memory.memsw.limit_in_bytes", allowance.memory)
        if cpu is not None and allowance.cpu:
            write(cpu / "cpu.cfs_period_us", str(_PERIOD))
            write(cpu / "cpu.cfs_quota_us", str(_quota(allowance.cpu)))

    def of_spare(self, spare: Sequence[str], namespace: str, name: str) -> tuple[str, ...]:
        """Those of the spare, where it stays for memory and processes; for processor time it moves later, so both are named."""
        return (*spare, *(str(parent / namespace / name) for parent in self._weighing))

    def take_over(
        self,
        spare: Sequence[str],
        namespace: str,  # noqa: ARG002
        name: str,  # noqa: ARG002
        allowance: Allowance,
        *,
        weight: float = 1.0,  # noqa: ARG002
    ) -> None:
        self._limit(dict(zip(self._own, map(Path, spare), strict=True)), allowance)

    def settle(self, spare: Sequence[str], namespace: str, name: str, allowance: Allowance, *, weight: float) -> None:
        """Move it to its namespace for processor time, which takes 4 to 15 ms. Its limits are in force before and after."""
        old = [group for parent, group in zip(self._own, spare, strict=True) if parent in self._weighing]
        new = {parent: parent / namespace / name for parent in self._weighing}
        for group in new.values():
            _make(group)
        self.weigh(namespace, weight)
        self._limit(new, allowance)
        move(old, [str(group) for group in new.values()])
        with contextlib.suppress(OSError):  # They go with the replica.
            remove_groups(old)

    def rouse(self, spare: Sequence[str]) -> None:
        """Nothing moves before the replica runs."""

    def weigh(self, namespace: str, weight: float) -> None:
        if (cpu := self._parents.get("cpu")) is not None:
            _hint(cpu / namespace / "cpu.shares", max(2, round(1024 * weight)))

    def enter(self, groups: Sequence[str], pid: int, allowance: Allowance) -> None:
        super().enter(groups, pid, allowance)
        with contextlib.suppress(ProcessLookupError):
            if "memory" not in self._parents:
                limit_memory(pid, allowance)
            if "pids" not in self._parents:
                limit_processes(pid, allowance)
            if "cpu" not in self._parents:
                give_way(pid)

    def own(self, allowance: Allowance) -> Mapping[int, int]:
        return own_limits(allowance, memory="memory" not in self._parents, processes="pids" not in self._parents)

    def join(self, groups: Sequence[str], pid: int) -> None:
        super().join(groups, pid)
        with contextlib.suppress(ProcessLookupError):
            if "cpu" not in self._parents:
                give_way(pid)


def move(groups: Sequence[str], others: Sequence[str]) -> None:
    """Put all processes of some groups into others, which are as many. Raises `OSError`.

    They may start processes meanwhile. Whatever is not moved in the end, since it starts new ones all the time, stays.
    """
    for group, other in zip(groups, others, strict=True):
        for _ in range(_SWEEPS):
            members = (Path(group) / "cgroup.procs").read_text().split()
            if not members:
                break
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    write(Path(other) / "cgroup.procs", pid)


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


def _home(ours: Path) -> Path | None:
    """The list of processes of the group that `ours` is in, if this process is one of them."""
    procs = ours.parent / "cgroup.procs"
    with contextlib.suppress(OSError):
        if str(os.getpid()) in procs.read_text().split():
            return procs
    return None


def _hand_down(group: Path) -> None:
    write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in _CONTROLLERS))


def _version_1(hierarchy: Path, own: str, label: str) -> Path:
    where = hierarchy / own
    if not where.is_dir():
        where = hierarchy  # In a container, the path is often the host's.
    if not (where / "cgroup.procs").exists():
        raise OSError(errno.ENOENT, "no such hierarchy")
    parent = where / label
    parent.mkdir(exist_ok=True)
    return parent


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
        write(path, str(value))
