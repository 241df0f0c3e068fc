"""The supervisor and its children: requested restarts, upgrades, kills of the supervisor, children that are stopped."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import hilbert
from support.load import SteadyLoad
from support.platform import Platform, command, running, until

ECHO = {"service": "echo", "image": "functions/alpine:latest", "envProcess": "cat"}
SLOW = {"envProcess": "sh -c 'cat; exec 2>/dev/null; sleep 3; echo done'"}
"""Answers in full only after some seconds."""
LONG = {"envProcess": "sh -c 'cat; sleep 60; echo done'"}


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running("gateway.workers=2", "provider.drain_delay=200ms") as started:
        yield started


def deploy(platform: Platform, name: str = "echo", **fields: object) -> None:
    answer = platform.api("POST", "/system/functions", {**ECHO, "service": name, **fields})
    assert answer.status == 202, answer.text
    until(
        lambda: b'"availableReplicas":1' in platform.api("GET", f"/system/function/{name}").body.replace(b" ", b""),
        what=f"{name} to be ready",
        log=lambda: platform.log,
    )


def send(platform: Platform, number: signal.Signals) -> None:
    assert platform.process is not None
    platform.process.send_signal(number)


def rolled(platform: Platform, times: int = 1, *, within: float = 60) -> None:
    """Wait until that many rolling restarts are done."""
    until(
        lambda: platform.log.count('"rolling restart done"') >= times,
        within=within,
        what="the rolling restart",
        log=lambda: platform.log,
    )


def control_of(platform: Platform) -> psutil.Process | None:
    """The control process, once there is one."""
    return next(iter(platform.children("hilbert.server.control")), None)


# R2


def test_restarts_that_were_asked_for_are_no_failures(platform: Platform) -> None:
    """Eight signals at once and in a row; the platform goes on, and says nothing of children that died."""
    deploy(platform)
    for _ in range(4):
        send(platform, signal.SIGHUP)
    rolled(platform)
    for times in range(2, 5):
        before = platform.log.count('"rolling restart done"')
        send(platform, signal.SIGHUP)
        rolled(platform, before + 1)
        assert times
    assert platform.call("/function/echo", b"x").body == b"x"
    assert '"child ended"' not in platform.log


def test_kills_of_a_control_process_that_was_ready_are_no_reason_to_give_up(platform: Platform) -> None:
    deploy(platform)
    for _ in range(7):
        until(lambda: platform.api("GET", "/system/functions").status == 200, what="the API", log=lambda: platform.log)
        control = control_of(platform)
        assert control is not None
        control.kill()
        until(lambda old=control: control_of(platform) not in (None, old), what="another one")  # type: ignore[misc]
    until(lambda: platform.api("GET", "/system/functions").status == 200, what="the API", log=lambda: platform.log)
    assert platform.call("/function/echo", b"x").body == b"x"


def test_giving_up_says_why_and_what_to_do() -> None:
    """A control process that never becomes ready: here because its file of tokens is damaged."""
    platform = Platform("gateway.workers=1")
    try:
        platform.state.mkdir(mode=0o700)
        (platform.state / "tokens.db").write_text("no database, but a text that is long enough to be one" * 100)
        with pytest.raises(AssertionError, match="ended with 3"):
            platform.start()
        assert '"cannot start"' in platform.log
        assert '"hint"' in platform.log
        assert not platform.processes()
    finally:
        platform.close()


# R5


def test_no_child_outlives_the_supervisor(platform: Platform) -> None:
    """Not even one that is stopped, and calls under way hold nobody up."""
    deploy(platform, "slow", **LONG)
    call = threading.Thread(target=lambda: _ignore(lambda: platform.call("/function/slow", b"x")), daemon=True)
    call.start()
    until(lambda: _runs(platform, "sleep"), what="the call to be under way", log=lambda: platform.log)
    modules = ("hilbert.server.control", "hilbert.dataplane.worker", "hilbert.server.log_keeper")
    children = [child for module in modules for child in platform.children(module)]
    for module in modules:
        platform.children(module)[0].suspend()
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait(10)
    until(lambda: not any(map(_lives, children)), within=5, what="every child to end", log=lambda: platform.log)
    call.join(30)
    platform.hilbert("down")  # What its replica was doing would go on otherwise.


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ignore(work: object) -> None:
    try:
        work()  # type: ignore[operator]
    except OSError:
        return


# R6


def test_down_leaves_nothing_and_says_what_it_cut() -> None:
    """A function with a long `write_timeout` that ignores the request to end, and a call that lasts longer than all."""
    stubborn = "sh -c 'trap \"\" TERM; cat; sleep 60; echo done'"
    with running("gateway.workers=1", "gateway.drain_timeout=1s", "provider.grace=1s") as platform:
        deploy(platform, "stubborn", envProcess=stubborn, envVars={"write_timeout": "200s", "exec_timeout": "200s"})
        call = threading.Thread(target=lambda: _ignore(lambda: platform.call("/function/stubborn", b"x")), daemon=True)
        call.start()
        until(lambda: _runs(platform, "sleep"), what="the call to be under way", log=lambda: platform.log)
        done = platform.hilbert("down", timeout=90)
        assert b"cut off: calls on 1 connection," in done.stdout + done.stderr
        assert not platform.processes()
        assert not list((platform.folder / "r" / "r").iterdir())
        call.join(30)


def test_replicas_end_also_when_the_control_process_cannot_stop_them() -> None:
    with running("gateway.workers=1", "gateway.drain_timeout=1s", "provider.grace=1s") as platform:
        deploy(platform, "slow", **LONG)
        call = threading.Thread(target=lambda: _ignore(lambda: platform.call("/function/slow", b"x")), daemon=True)
        call.start()
        until(lambda: _runs(platform, "sleep"), what="the call to be under way", log=lambda: platform.log)
        control = control_of(platform)
        assert control is not None
        send(platform, signal.SIGTERM)
        control.kill()
        assert platform.process is not None
        assert platform.process.wait(60) == 0
        assert not platform.processes()
        assert not list((platform.folder / "r" / "r").iterdir())
        assert b"1 replica," in (platform.state / "stopped.json").read_bytes()
        call.join(30)


def _runs(platform: Platform, name: str) -> bool:
    return any(process.name() == name for process in platform.processes())


def test_down_ends_what_a_killed_platform_left() -> None:
    with running("gateway.workers=1") as platform:
        deploy(platform)
        assert platform.process is not None
        platform.process.kill()
        platform.process.wait(10)
        assert platform.replicas()
        done = platform.hilbert("down")
        assert b"No gateway is running here" in done.stdout
        assert b"Stopped 1 replica of a gateway that had been killed" in done.stdout
        until(lambda: not platform.replicas(), within=5, what="the replica to end")


# R7


def test_a_long_call_outlives_a_rolling_restart() -> None:
    """Its answer has begun and goes on by the old worker, however short the time is that a stop gives; others find the new one."""
    with running("gateway.workers=1", "gateway.drain_timeout=100ms") as platform:
        deploy(platform, "slow", **SLOW)
        answers: list[bytes] = []
        call = threading.Thread(target=lambda: answers.append(platform.call("/function/slow", b"x").body))
        call.start()
        until(lambda: _runs(platform, "sleep"), what="the call to be under way", log=lambda: platform.log)
        (old,) = platform.children("hilbert.dataplane.worker")
        send(platform, signal.SIGHUP)
        until(lambda: set(platform.children("hilbert.dataplane.worker")) - {old}, within=30, what="the successor")
        assert platform.api("GET", "/system/functions").status == 200
        call.join(60)
        assert answers == [b"xdone\n"], answers
        until(lambda: not old.is_running(), within=30, what="the old worker to end", log=lambda: platform.log)


def test_an_old_worker_ends_at_its_limit() -> None:
    """And the platform does not wait for it."""
    with running("gateway.workers=1", "gateway.handover_timeout=200ms", "provider.grace=1s") as platform:
        deploy(platform, "slow", **LONG)
        call = threading.Thread(target=lambda: _ignore(lambda: platform.call("/function/slow", b"x")))
        call.start()
        until(lambda: _runs(platform, "sleep"), what="the call to be under way", log=lambda: platform.log)
        (old,) = platform.children("hilbert.dataplane.worker")
        send(platform, signal.SIGHUP)
        until(lambda: not old.is_running(), within=30, what="the old worker to end", log=lambda: platform.log)
        assert '"calls cut off"' in platform.log
        call.join(30)


# R9


def test_two_gateways_cannot_share_a_run_folder(tmp_path: Path) -> None:
    with running("gateway.workers=1") as platform:
        other = Platform("gateway.workers=1", folder=tmp_path)
        other.environ["HILBERT_RUN_DIR"] = str(platform.folder / "r")
        with pytest.raises(AssertionError, match="ended with 3"):
            other.start()
        assert "error: a gateway already runs on" in other.log
        assert "paths.run_dir" in other.log
        deploy(platform)
        assert platform.call("/function/echo", b"x").body == b"x"


# R10


@pytest.mark.parametrize("module", ["hilbert.dataplane.worker", "hilbert.server.control", "hilbert.server.log_keeper"])
def test_a_stopped_child_is_noticed(module: str, platform: Platform) -> None:
    """It goes on, and no call is lost, neither one in its hands nor one that is new."""
    deploy(platform)
    victim = platform.children(module)[0]
    with SteadyLoad(platform.url + "/function/echo", threads=6, body=b"x").on() as load:
        victim.suspend()
        until(
            lambda: "a child process had been stopped" in platform.log,
            within=40,
            what="the log",
            log=lambda: platform.log,
        )
        until(
            lambda: not victim.is_running() or victim.status() != "stopped",
            within=40,
            what="the supervisor to notice",
            log=lambda: platform.log,
        )
        load.wait_for(40)
    assert not load.failures, load.failures[:3]
    assert platform.api("GET", "/system/functions").status == 200


def test_a_stop_of_everything_harms_nobody(platform: Platform) -> None:
    """As Ctrl-Z does it, or a machine that sleeps: nobody is taken for dead afterwards."""
    deploy(platform)
    family = [process for process in platform.processes() if "hilbert" in " ".join(command(process))]
    before = {process.pid for process in family}
    assert platform.process is not None
    supervisor = psutil.Process(platform.process.pid)
    for process in [supervisor, *(p for p in family if p.pid != supervisor.pid)]:
        process.suspend()
    end = time.monotonic() + 4
    until(lambda: time.monotonic() > end, what="some time to pass")
    for process in reversed([supervisor, *(p for p in family if p.pid != supervisor.pid)]):
        process.resume()
    assert platform.call("/function/echo", b"x").body == b"x"
    assert platform.api("GET", "/system/functions").status == 200
    assert before <= {process.pid for process in platform.processes()}
    assert "is replaced" not in platform.log


# Upgrades


class Installed:
    """A virtual environment with a copy of the package, for a test to change."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "env", symlinks=True)
        self.python = folder / "env" / "bin" / "python"
        self.package = folder / "package" / "hilbert"
        source = Path(hilbert.__file__).parent
        shutil.copytree(source, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        libraries = [path for path in sys.path if path.endswith("site-packages")]
        (site / "here.pth").write_text("\n".join([str(self.package.parent), *libraries]) + "\n")


def test_an_upgrade_by_signal(tmp_path: Path) -> None:
    """A broken package is refused and the old one goes on; a good one is taken into use without a lost call."""
    installed = Installed(tmp_path)
    platform = Platform("gateway.workers=2")
    platform.command = (str(installed.python),)
    try:
        platform.start()
        deploy(platform)
        replicas = {process.pid for process in platform.replicas()}
        worker = installed.package / "dataplane" / "worker.py"
        good = worker.read_text()
        with SteadyLoad(platform.url + "/function/echo", body=b"x").on() as load:
            worker.write_text("this is no Python\n")
            send(platform, signal.SIGHUP)
            until(lambda: "rolling restart refused" in platform.log, within=40, what="a no", log=lambda: platform.log)
            assert platform.api("GET", "/system/functions").status == 200
            # The new version has its modules elsewhere: the old supervisor could not start them.
            worker.write_text(good)
            worker.rename(worker.with_name("laborer.py"))
            for file in (installed.package / "server").glob("*.py"):
                file.write_text(file.read_text().replace("hilbert.dataplane.worker", "hilbert.dataplane.laborer"))
            send(platform, signal.SIGHUP)
            rolled(platform)
            load.wait_for(40)
        assert not load.failures, load.failures[:3]
        until(lambda: len(platform.children("hilbert.dataplane.laborer")) == 2, what="the new workers")
        assert {process.pid for process in platform.replicas()} == replicas
        assert platform.api("GET", "/system/functions").status == 200
        assert platform.stop() == 0
        until(lambda: not platform.processes(), within=5, what="every process to end", log=lambda: platform.log)
    finally:
        platform.close()
