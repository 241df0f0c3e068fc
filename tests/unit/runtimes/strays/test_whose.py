"""Whose a control group is, and whether anybody uses it: on folders that stand for a hierarchy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hilbert.runtimes.strays.look import AGE_LEAST, is_empty
from hilbert.runtimes.strays.whose import Installation, below, group_folders, living


def make(group: Path, processes: str = "", *, age: float = AGE_LEAST * 2) -> Path:
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(processes)
    then = group.stat().st_mtime - age
    os.utime(group, (then, then))
    return group


def test_groups_are_found_by_their_names_wherever_they_are(tmp_path: Path) -> None:
    ours = {make(tmp_path / "hilbert-0123abcd"), make(tmp_path / "system.slice" / "x.service" / "hilbert-ffffffff")}
    make(tmp_path / "hilbert-0123abcd" / "dev" / "hilbert-11111111")
    for name in ("hilbert", "hilbert-xyz", "hilbert-0123abcde", "my-hilbert-0123abcd"):
        make(tmp_path / name)
    assert set(group_folders(tmp_path)) == ours


def test_a_group_is_empty_when_nothing_runs_or_is_about_to_in_it_or_below(tmp_path: Path) -> None:
    for name, inner, age, empty in (
        ("old", "", AGE_LEAST * 2, True),
        ("used", "4711\n", AGE_LEAST * 2, False),
        ("new", "", 0.0, False),
    ):
        top = make(tmp_path / name)
        make(top / "dev" / "replica", inner, age=age)
        for folder in (top / "dev", top):
            if folder != top:
                (folder / "cgroup.procs").write_text("")
            then = folder.stat().st_mtime - AGE_LEAST * 2
            os.utime(folder, (then, then))
        assert is_empty(top) is empty, name
        assert below(top)[-1] == top
    assert is_empty(tmp_path / "gone"), "there is nothing to keep"


def test_an_installation_lives_while_a_process_of_the_platform_holds_its_lock(tmp_path: Path) -> None:
    code = "import sys; held = open(sys.argv[1], 'w'); print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "lock"), "hilbert.server"]
    assert tmp_path not in set(living())
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert tmp_path in set(living())
    assert tmp_path not in set(living())


def test_names_are_those_that_the_run_folder_gives(tmp_path: Path) -> None:
    one, other = Installation(tmp_path / "a"), Installation(tmp_path / "b")
    assert one.group != other.group
    assert one.group == Installation(tmp_path / "a").group
    assert len(one.network) == 4
