"""Programs of a build, several builds at once, and their end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hilbert.builder.build_errors import BuildFailed
from hilbert.builder.many import run_all
from hilbert.builder.programs import Cancelled, Job
from hilbert.core.environment import inherited_environment

ENV = inherited_environment()


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_and_status(tmp_path: Path) -> None:
    """Both streams go to the log; secrets do not."""
    seen: list[str] = []
    job = Job("x", on_line=seen.append)
    script = "echo out; echo err >&2; echo password=hunter2; cat; exit 3"
    assert job.run(["sh", "-c", script], cwd=tmp_path, env=ENV, secret=["hunter2"]) == 3
    assert sorted(job.tail()) == ["err", "out", "password=***"]
    assert seen == job.tail()


def test_the_log_is_bounded(tmp_path: Path) -> None:
    """The end of it is kept, and no line is endless."""
    job = Job("x")
    job.run(["sh", "-c", "seq 1000; head -c 100000 /dev/zero | tr '\\0' x; echo"], cwd=tmp_path, env=ENV)
    assert job.tail(2)[0] == "1000"
    assert len(job.tail(1)[0]) <= 4096
    assert len(job.tail(10_000)) == 400


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """Named in the error."""
    with pytest.raises(BuildFailed, match="cannot run no-such-program: No such file"):
        Job("x").run(["no-such-program"], cwd=tmp_path, env=ENV)


def test_cancelling_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """Also children that the program started."""
    job = Job("x")
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! > {pids}.part; echo $$ >> {pids}.part; mv {pids}.part {pids}; wait"
    raised: list[BaseException] = []

    def work() -> None:
        try:
            job.run(["sh", "-c", script], cwd=tmp_path, env=ENV)
        except Cancelled as exc:
            raised.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    until(pids.exists)
    job.cancel()
    thread.join()
    assert len(raised) == 1
    for pid in pids.read_text().split():
        until(lambda pid=pid: not is_alive(int(pid)))  # type: ignore[misc]
    with pytest.raises(Cancelled):
        job.run(["true"], cwd=tmp_path, env=ENV)


def test_all_run_and_failures_do_not_stop_others() -> None:
    """Results come in the order of the jobs."""
    jobs = [Job(name) for name in "abc"]
    ended: list[str] = []

    def work(job: Job) -> str:
        if job.name == "b":
            raise BuildFailed("no")
        return job.name.upper()

    results = run_all(jobs, work, parallel=2, on_end=lambda result: ended.append(result.job.name))
    assert [result.value for result in results] == ["A", None, "C"]
    assert results[1].error is not None
    assert sorted(ended) == ["a", "b", "c"]


def test_no_more_at_once_than_asked_for() -> None:
    """`--parallel` is an upper bound."""
    running = most = 0
    lock = threading.Lock()

    def work(_: Job) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    run_all([Job(str(number)) for number in range(8)], work, parallel=2)
    assert most == 2


def test_an_interruption_ends_every_build(tmp_path: Path) -> None:
    """Ctrl-C comes to the main thread; programs that run are ended, builds that wait never begin."""
    started: list[str] = []
    quick = Job("quick")

    def work(job: Job) -> None:
        started.append(job.name)
        job.run(["true" if job is quick else "sleep", "1000"], cwd=tmp_path, env=ENV)

    def interrupt(_: object) -> None:
        until(lambda: "slow" in started)
        raise KeyboardInterrupt

    slow = Job("slow")
    before = os.getpid()
    with pytest.raises(KeyboardInterrupt):
        run_all([quick, slow, Job("slower"), Job("late")], work, parallel=2, on_end=interrupt)
    assert os.getpid() == before
    assert "late" not in started
    with pytest.raises(Cancelled):
        slow.begin("again")
