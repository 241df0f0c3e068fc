"""Memory, CPU and process limits: control groups where they can be written, per-process limits otherwise.

Both versions of control groups are served: version 2, where the controllers can be handed down to a group of ours, and
version 1 with its hierarchy per controller. Each replica gets a group of its own, named after it.
"""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from hilbert.core.model import Resources

PIDS_MOST: Final = 1024
"""Processes and threads of one replica."""
FILES_MOST: Final = 65536
"""Open files of one process."""

_CONTROLLERS: Final = ("memory", "cpu", "pids")
_PERIOD: Final = 100_000
"""Microseconds in which a CPU limit is kept."""


class Limiter(Protocol):
    """One way of limiting a replica and everything that it starts."""

    memory: str
    cpu: str
    """How each limit is kept, as shown to users."""
    whole: bool
    """Memory, CPU and processes are limited, and can be ended, for all processes of a replica together."""

    def groups(self, name: str) -> tuple[str, ...]:
        """Paths of the groups that a replica has, or would have."""
        ...

    def create(self, name: str, limits: Resources | None) -> None:
        """Make the groups of a replica. Raises `OSError`."""
        ...

    def enter(self, groups: Sequence[str], pid: int, limits: Resources | None) -> None:
        """Put a process, that has started nothing yet, under the limits. Raises `OSError`."""
        ...

    def close(self) -> None:
        """Leave nothing behind, if no replica needs it any more. `create` can still be used."""
        ...


class ProcessLimits:
    """No control groups: the kernel's limits for each process. They bound a process, not a replica."""

    memory = "rlimit for each process"
    cpu = "none"
    whole = False

    def groups(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def create(self, name: str, limits: Resources | None) -> None:
        """Nothing to make."""

    def enter(self, groups: Sequence[str], pid: int, limits: Resources | None) -> None:  # noqa: ARG002
        with contextlib.suppress(ProcessLookupError):
            _common_limits(pid)
            if limits is not None and limits.memory is not None:
                # Data, not address space: runtimes such as Node's reserve far more addresses than they use.
                resource.prlimit(pid, resource.RLIMIT_DATA, (limits.memory.units, limits.memory.units))

    def close(self) -> None:
        """Nothing was made."""


class _Groups:
    """What both versions share."""

    _own: tuple[Path, ...]
    """The groups that hold those of the replicas."""

    def close(self) -> None:
        for group in self._own:
            with contextlib.suppress(OSError):
                group.rmdir()

    def enter(self, groups: Sequence[str], pid: int, limits: Resources | None) -> None:  # noqa: ARG002
        with contextlib.suppress(ProcessLookupError):
            _common_limits(pid)
            for group in groups:
                _write(Path(group) / "cgroup.procs", str(pid))


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

    def groups(self, name: str) -> tuple[str, ...]:
        return (str(self._parent / name),)

    def create(self, name: str, limits: Resources | None) -> None:
        self._prepare()
        group = self._parent / name
        group.mkdir(exist_ok=True)
        _write(group / "pids.max", str(PIDS_MOST))
        if limits is not None and limits.memory is not None:
            _write(group / "memory.max", str(limits.memory.units))
            with contextlib.suppress(OSError):
                _write(group / "memory.swap.max", "0")
            _write(group / "memory.oom.group", "1")
        if limits is not None and limits.cpu is not None:
            _write(group / "cpu.max", f"{_quota(limits.cpu.millis)} {_PERIOD}")


class GroupsV1(_Groups):
    """Control groups, version 1: a hierarchy for each controller."""

    def __init__(self, parents: Mapping[str, Path]) -> None:
        """`parents` by controller: `memory`, `pids`, `cpu` and `cpuacct`, as far as they are there."""
        self._parents = parents
        self._own = tuple(dict.fromkeys(parents.values()))
        self.memory = "cgroup v1" if "memory" in parents else ProcessLimits.memory
        self.cpu = "cgroup v1" if "cpu" in parents else ProcessLimits.cpu
        self.whole = {"memory", "cpu", "pids"} <= parents.keys()

    def groups(self, name: str) -> tuple[str, ...]:
        return tuple(str(parent / name) for parent in dict.fromkeys(self._parents.values()))

    def create(self, name: str, limits: Resources | None) -> None:
        for group in self.groups(name):
            Path(group).mkdir(parents=True, exist_ok=True)
        if "pids" in self._parents:
            _write(self._parents["pids"] / name / "pids.max", str(PIDS_MOST))
        if limits is not None and limits.memory is not None and "memory" in self._parents:
            _write(self._parents["memory"] / name / "memory.limit_in_bytes", str(limits.memory.units))
        if limits is not None and limits.cpu is not None and "cpu" in self._parents:
            _write(self._parents["cpu"] / name / "cpu.cfs_period_us", str(_PERIOD))
            _write(self._parents["cpu"] / name / "cpu.cfs_quota_us", str(_quota(limits.cpu.millis)))

    def enter(self, groups: Sequence[str], pid: int, limits: Resources | None) -> None:
        super().enter(groups, pid, limits)
        if "memory" not in self._parents:
            ProcessLimits().enter(groups, pid, limits)


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
    for controller in ("memory", "pids", "cpu", "cpuacct"):
        if controller in paths:
            with contextlib.suppress(OSError):
                parents[controller] = _version_1(root / controller, paths[controller], label)
    if parents:
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


def _common_limits(pid: int) -> None:
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    files = FILES_MOST if most == resource.RLIM_INFINITY else min(most, FILES_MOST)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files))
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def _quota(millis: int) -> int:
    return max(1000, millis * _PERIOD // 1000)  # The kernel takes no less than a millisecond.


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
