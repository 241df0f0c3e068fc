"""Limits: which mechanism is chosen, and what is written where. The kernel's files are played by ordinary ones."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hilbert.core.model import Resources
from hilbert.core.settings import DefaultLimitSettings
from hilbert.core.values import Quantity
from hilbert.runtimes.replica.group_limits import GroupsV1, GroupsV2, find_limiter
from hilbert.runtimes.replica.groups import UsageMeter, kill_groups, measure, out_of_memory, remove_groups
from hilbert.runtimes.replica.limits import Allowance, ProcessLimits

LIMITS = Allowance(memory=64 << 20, cpu=250, processes=100, open_files=256)
NONE = Allowance()


def version_2(root: Path, *, controllers: str = "cpu memory pids", inside: str = "") -> None:
    (root / inside).mkdir(parents=True, exist_ok=True)
    (root / inside / "cgroup.controllers").write_text(controllers)
    (root / inside / "cgroup.subtree_control").write_text("")


def version_1(root: Path, *names: str) -> str:
    for name in names:
        (root / name / "me").mkdir(parents=True)
        (root / name / "me" / "cgroup.procs").write_text("")
    return "".join(f"{number}:{name}:/me\n" for number, name in enumerate(names, 1)) + "0::/\n"


def test_version_2_is_taken_where_its_controllers_are_handed_down(tmp_path: Path) -> None:
    version_2(tmp_path, inside="user.slice/me")
    limiter, note = find_limiter("hb", root=tmp_path, own="0::/user.slice/me\n")
    assert isinstance(limiter, GroupsV2)
    assert (limiter.memory, note) == ("cgroup v2", "")
    limiter.create("dev", "f-1", LIMITS)
    group = Path(*limiter.groups("dev", "f-1"))
    assert group == tmp_path / "user.slice/me/hb/dev/f-1"
    assert (group / "memory.max").read_text() == str(64 << 20)
    assert (group / "memory.oom.group").read_text() == "1"
    assert (group / "cpu.max").read_text() == "25000 100000"
    assert (group / "pids.max").read_text() == "100"
    every = group.parent.parent
    assert 0 < int((every / "memory.max").read_text()) < psutil.virtual_memory().total
    assert 0 < int((every / "pids.max").read_text()) < int(Path("/proc/sys/kernel/pid_max").read_text())
    assert int((every / "cpu.weight").read_text()) < 100, (
        "all functions weigh less than one group of the platform's rank"
    )
    limiter.create("dev", "f-2", NONE)
    assert not (tmp_path / "user.slice/me/hb/dev/f-2/memory.max").exists()
    limiter.close()
    assert group.is_dir(), "it is still in use"


def test_version_1_takes_the_controllers_that_are_there(tmp_path: Path) -> None:
    own = version_1(tmp_path, "memory", "pids", "cpu", "cpuacct")
    limiter, note = find_limiter("hb", root=tmp_path, own=own)
    assert isinstance(limiter, GroupsV1)
    assert (limiter.memory, limiter.cpu, note) == ("cgroup v1", "cgroup v1", "")
    limiter.create("dev", "f-1", LIMITS)
    assert (tmp_path / "memory/me/hb/dev/f-1/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "cpu/me/hb/dev/f-1/cpu.cfs_quota_us").read_text() == "25000"
    assert (tmp_path / "pids/me/hb/dev/f-1/pids.max").read_text() == "100"
    assert len(limiter.groups("dev", "f-1")) == 4
    assert 0 < int((tmp_path / "memory/me/hb/memory.limit_in_bytes").read_text()) < psutil.virtual_memory().total
    assert int((tmp_path / "cpu/me/hb/cpu.shares").read_text()) < 1024


@pytest.mark.parametrize(
    ("path", "usual", "triple", "least"), [("cpu.weight", 100, 300, 1), ("cpu.shares", 1024, 3072, 10)]
)
def test_each_namespace_has_a_weight_of_its_own(tmp_path: Path, path: str, usual: int, triple: int, least: int) -> None:
    """However many replicas it runs; it can change while they run, and goes with the last of them."""
    if path == "cpu.weight":
        version_2(tmp_path)
        limiter, _ = find_limiter("hb", root=tmp_path, own="0::/\n")
        place = tmp_path / "hb"
    else:
        limiter, _ = find_limiter("hb", root=tmp_path, own=version_1(tmp_path, "cpu"))
        place = tmp_path / "cpu/me/hb"
    limiter.create("dev", "f-1", NONE)
    limiter.create("dev", "f-2", NONE)
    limiter.create("big", "f-3", NONE, weight=3.0)
    assert int((place / "dev" / path).read_text()) == usual
    assert int((place / "big" / path).read_text()) == triple
    limiter.weigh("dev", 0.01)
    assert int((place / "dev" / path).read_text()) == least
    for file in [*place.glob("dev/*.*"), *place.glob("dev/*/*.*")]:
        file.unlink()  # The kernel's go with their group.
    remove_groups(limiter.groups("dev", "f-1"))
    assert (place / "dev").is_dir()
    remove_groups(limiter.groups("dev", "f-2"))
    assert not (place / "dev").exists()
    assert (place / "big").is_dir()


def test_all_functions_together_leave_a_part_of_what_this_process_may_use(tmp_path: Path) -> None:
    own = version_1(tmp_path, "memory", "pids", "cpu")
    (tmp_path / "memory/me/memory.limit_in_bytes").write_text(str(4 << 30))
    limiter, _ = find_limiter("hb", root=tmp_path, own=own)
    limiter.create("dev", "f-1", LIMITS)
    most = int((tmp_path / "memory/me/hb/memory.limit_in_bytes").read_text())
    assert 3 << 30 < most < 4 << 30


def test_in_version_1_a_spare_keeps_its_groups_under_the_replica_s_limits_and_moves_for_processor_time(
    tmp_path: Path,
) -> None:
    limiter, _ = find_limiter("hb", root=tmp_path, own=version_1(tmp_path, "memory", "pids", "cpu", "cpuacct"))
    limiter.create("-spares", "spare-1", Allowance(processes=100))
    spare = limiter.groups("-spares", "spare-1")
    for group in spare:
        (Path(group) / "cgroup.procs").write_text("7\n")
    groups = limiter.of_spare(spare, "dev", "f-1")
    own = [str(tmp_path / name / "me/hb/dev/f-1") for name in ("cpu", "cpuacct")]
    assert groups == (*spare, *own)
    limiter.take_over(spare, "dev", "f-1", LIMITS, weight=2.0)
    assert (tmp_path / "memory/me/hb/-spares/spare-1/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "cpu/me/hb/-spares/spare-1/cpu.cfs_quota_us").read_text() == "25000"
    assert not Path(own[0]).exists()
    limiter.settle(spare, "dev", "f-1", LIMITS, weight=2.0)
    assert (tmp_path / "cpu/me/hb/dev/f-1/cpu.cfs_quota_us").read_text() == "25000"
    assert int((tmp_path / "cpu/me/hb/dev/cpu.shares").read_text()) == 2048
    assert {(Path(group) / "cgroup.procs").read_text() for group in own} == {"7"}
    assert not (tmp_path / "memory/me/hb/dev").exists()


def test_in_version_2_a_spare_moves_to_the_replica_s_group_before_it_runs(tmp_path: Path) -> None:
    version_2(tmp_path)
    limiter, _ = find_limiter("hb", root=tmp_path, own="0::/\n")
    limiter.create("-spares", "spare-1", NONE)
    spare = limiter.groups("-spares", "spare-1")
    (Path(*spare) / "cgroup.procs").write_text("7\n")
    limiter.rouse(spare)
    assert (Path(*spare) / "cgroup.procs").read_text() == "7"
    limiter.take_over(spare, "dev", "f-1", LIMITS)
    (group,) = limiter.of_spare(spare, "dev", "f-1")
    assert (tmp_path / "hb/dev/f-1") == Path(group)
    assert (Path(group) / "memory.max").read_text() == str(64 << 20)
    assert (Path(group) / "cgroup.procs").read_text() == "7"


def test_a_function_that_states_no_limits_has_the_defaults() -> None:
    defaults = DefaultLimitSettings(
        memory=Quantity.parse("64Mi"), cpu=Quantity.parse("250m"), processes=7, open_files=9
    )
    assert Allowance.of(None, defaults) == Allowance(memory=64 << 20, cpu=250, processes=7, open_files=9)
    own = Resources(memory=Quantity.parse("1Gi"))
    assert Allowance.of(own, defaults) == Allowance(memory=1 << 30, cpu=250, processes=7, open_files=9)


def test_closing_leaves_nothing_and_can_be_followed_by_another_replica(tmp_path: Path) -> None:
    limiter, _ = find_limiter("hb", root=tmp_path, own=version_1(tmp_path, "memory", "cpu"))
    limiter.close()
    assert not (tmp_path / "memory/me/hb").exists()
    limiter.create("dev", "f-1", NONE)
    assert all(Path(group).is_dir() for group in limiter.groups("dev", "f-1"))


def test_a_hierarchy_whose_path_is_the_host_s_is_used_from_its_root(tmp_path: Path) -> None:
    version_1(tmp_path, "memory")
    (tmp_path / "memory" / "cgroup.procs").write_text("")
    limiter, note = find_limiter("hb", root=tmp_path, own="1:memory:/docker/abc\n0::/\n")
    assert limiter.groups("dev", "x") == (str(tmp_path / "memory/hb/dev/x"),)
    assert limiter.cpu == "none"
    assert "cpu" in note


def test_without_control_groups_each_process_is_limited_and_the_reason_given(tmp_path: Path) -> None:
    version_2(tmp_path, controllers="cpu")
    limiter, note = find_limiter("hb", root=tmp_path, own="0::/\n")
    assert isinstance(limiter, ProcessLimits)
    assert limiter.groups("dev", "f-1") == ()
    assert "memory, pids are not handed down" in note
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        limiter.enter((), child.pid, LIMITS)
        assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (64 << 20, 64 << 20)
        assert resource.prlimit(child.pid, resource.RLIMIT_CORE) == (0, 0)
        assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == (256, 256)
        assert resource.prlimit(child.pid, resource.RLIMIT_NPROC)[0] >= 100
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "500"
        assert os.getpriority(os.PRIO_PROCESS, child.pid) >= 10
        seen = measure((), child.pid)
        assert seen is not None
        assert seen[1] > 1 << 20
    finally:
        child.kill()
        child.communicate()
    limiter.enter((), child.pid, LIMITS)  # Gone by now: absence is success.
    assert measure((), child.pid) is None


def test_killing_a_group_kills_its_members(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "cgroup.procs").write_text(f"{child.pid}\n")
    kill_groups((str(tmp_path), str(tmp_path / "missing")))  # The file is no real one: it never empties.
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def test_removing_is_patient_and_absence_is_success(tmp_path: Path) -> None:
    (tmp_path / "dev" / "a").mkdir(parents=True)
    remove_groups((str(tmp_path / "dev" / "a"), str(tmp_path / "dev" / "b")))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text"), [("memory.events", "oom 1\noom_kill 1\n"), ("memory.oom_control", "oom_kill 2\n")]
)
def test_the_kernel_s_word_on_memory(tmp_path: Path, name: str, text: str) -> None:
    assert not out_of_memory((str(tmp_path),))
    (tmp_path / name).write_text(text)
    assert out_of_memory((str(tmp_path),))


def test_usage_comes_from_the_groups(tmp_path: Path) -> None:
    for folder, name, text in (("2", "cpu.stat", "usage_usec 1500000\n"), ("2", "memory.current", "4096\n")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    assert measure((str(tmp_path / "2"),), 1) == (1.5, 4096.0)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cpuacct.usage").write_text("2500000000")
    (tmp_path / "1" / "memory.usage_in_bytes").write_text("8192")
    assert measure((str(tmp_path / "1"),), 1) == (2.5, 8192.0)


def test_a_meter_makes_rates_of_counters() -> None:
    meter = UsageMeter()
    assert meter.rate("a", 5.0, 1.0).cpu_millis == 0
    assert meter.rate("a", 6.0, 1.0).cpu_millis > 0
    meter.forget("a")
    assert meter.rate("a", 7.0, 1.0).cpu_millis == 0
