"""`up`, `down`, `status` and `doctor` with the real platform."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from support.platform import HILBERT, Platform, until
from support.ports import held_port


@pytest.fixture
def here() -> Iterator[Platform]:
    """Folders of its own; nothing runs yet."""
    found = Platform()
    found.folder.joinpath("client").mkdir(exist_ok=True)
    yield found
    for process in found.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    found.close()


@pytest.fixture
def port() -> Iterator[int]:
    """Known before the gateway starts."""
    with held_port() as found:
        yield found


def test_up_in_the_background_and_down(here: Platform) -> None:
    """Started, found with no login, used, stopped; each says what it did."""
    here.environ.pop("HILBERT_GATEWAY__PORT")
    said = here.hilbert("up", "--detach", "--port", "0", "--workers", "1").stdout.decode()
    pid = here.facts["pid"]
    assert said == f"The gateway is running at {here.url} (pid {pid}).\n"
    assert (
        here.hilbert("up", "-d", "--port", "0").stdout.decode()
        == f"The gateway is already running at {here.url} (pid {pid}).\n"
    )
    assert here.hilbert("namespaces").stdout == b"Namespaces:\n - openfaas-fn\n"
    assert (here.state / "hilbert.log").stat().st_mode & 0o077 == 0

    here.hilbert("store", "deploy", "figlet")
    assert here.hilbert("invoke", "figlet", stdin=b"x").stdout.strip()
    status = json.loads(here.hilbert("status", "--output", "json").stdout)
    assert (status["gateway"], status["pid"], status["source"]) == (here.url, pid, "the gateway started here")
    assert status["namespaces"] == [{"name": "openfaas-fn", "functions": 1, "replicas": 1, "ready": 1}]

    url = here.url
    assert here.hilbert("down").stdout.decode() == f"Stopped the gateway at {url} (pid {pid}).\n"
    assert here.processes() == []
    assert here.hilbert("down").stdout == b"No gateway is running here.\n"


def test_up_at_a_terminal_says_where_who_and_what_to_try(here: Platform) -> None:
    """The address, the dashboard, where the password is (never the password), and a command that works as it stands."""
    primary, secondary = pty.openpty()
    command = [HILBERT, "up", "--only-gateway"]
    process = subprocess.Popen(
        command, env=here.environ, stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True
    )
    os.close(secondary)
    text = ""
    try:
        while "/function/figlet" not in text:
            assert select.select([primary], [], [], 60)[0], text
            text += os.read(primary, 65536).decode()
        assert f"Dashboard: {here.url}/ui/" in text
        assert f"Log in as admin; the password is in {here.state / 'auth' / 'basic-auth-password'}" in text
        assert here.password not in text
        assert f"  hilbert store deploy figlet && curl -d Hilbert {here.url}/function/figlet" in text
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        os.close(primary)


def test_up_in_the_foreground_ends_with_ctrl_c(here: Platform) -> None:
    """It is the platform itself: one process, its signals, its exit status."""
    process = subprocess.Popen(
        [HILBERT, "up", "--only-gateway"],
        env=here.environ,
        cwd=here.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: (here.state / "gateway.json").exists(), what="the platform to start")
        assert here.facts["pid"] == process.pid
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, b"")
    assert here.processes() == []


def test_up_says_why_it_does_not_start(here: Platform) -> None:
    """A port that is taken, settings that make no sense, a second platform: status 3 or 2, and nothing left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = here.hilbert("up", "--detach", "--port", str(port), expect=3)
        assert done.stdout == b""
        assert f"{port}".encode() in done.stderr
    done = here.hilbert("up", "--detach", "--set", "gateway.prot=1", expect=1)
    assert done.stderr == b"error: unknown setting gateway.prot from flag\nhint: did you mean gateway.port?\n"
    assert here.processes() == []


def test_down_stops_no_stranger(here: Platform) -> None:
    """A `gateway.json` that stayed behind may name a process that is somebody else's by now."""
    stranger = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    here.state.mkdir(parents=True, exist_ok=True)
    (here.state / "gateway.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": stranger.pid}))
    assert here.hilbert("down").stdout == b"No gateway is running here.\n"
    assert stranger.poll() is None
    stranger.communicate()


def test_an_interrupted_up_leaves_nothing(here: Platform) -> None:
    """Ctrl-C while it waits for the platform to answer."""
    process = subprocess.Popen(
        [HILBERT, "up", "--detach"], env=here.environ, cwd=here.folder, stdout=subprocess.DEVNULL
    )
    server = "hilbert.server"
    until(lambda: [p for p in here.processes() if server in p.cmdline()], what="the platform's process")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) in (0, 130)  # It may have been ready already.
    if process.returncode == 130:
        until(lambda: here.processes() == [], what="the platform to be gone")


def test_status_and_doctor_without_a_platform(here: Platform) -> None:
    """Both fail, and say what to do."""
    here.environ["OPENFAAS_URL"] = "http://127.0.0.1:1"
    done = here.hilbert("status", expect=1)
    assert done.stderr.startswith(b"error: cannot connect to http://127.0.0.1:1: ")
    assert b"hilbert up" in done.stderr
    found = json.loads(here.hilbert("doctor", "--output", "json", expect=1).stdout)
    (broken,) = [entry for entry in found if entry["level"] == "broken"]
    assert "no gateway answers" in broken["what"]
    assert "hilbert up" in broken["todo"]


@pytest.fixture
def platform(here: Platform) -> Platform:
    return here.start()


def findings(platform: Platform, *words: str, expect: int) -> dict[str, list[dict[str, str]]]:
    """What doctor found, by level."""
    found: dict[str, list[dict[str, str]]] = {"ok": [], "warning": [], "broken": []}
    for entry in json.loads(platform.hilbert("doctor", *words, "--output", "json", expect=expect).stdout):
        found[entry["level"]].append(entry)
    return found


def test_doctor_of_a_platform_that_is_well(platform: Platform) -> None:
    """Nothing is broken; the sandbox is named."""
    found = findings(platform, expect=0)
    assert found["broken"] == []
    said = " ".join(entry["what"] for entry in (*found["ok"], *found["warning"]))
    for topic in (
        "Python",
        "state directory",
        "GiB free",
        "the platform is running",
        "answers at",
        "sandbox: ",
        "memory-limit",
    ):
        assert topic in said
    text = platform.hilbert("doctor").stdout.decode()
    assert text.startswith("ok       hilbert ")


def test_doctor_of_a_namespace(platform: Platform) -> None:
    """One that is there, with its functions; one that is not, with those that are."""
    platform.hilbert("namespace", "create", "dev")
    platform.hilbert("store", "deploy", "figlet", "-n", "dev")
    found = findings(platform, "--namespace", "dev", expect=0)
    assert any("figlet.dev is ready" in entry["what"] for entry in found["ok"])
    (broken,) = findings(platform, "--namespace", "nowhere", expect=1)["broken"]
    assert "dev, openfaas-fn" in broken["todo"]


def test_doctor_of_a_function_that_cannot_run(platform: Platform) -> None:
    """Its reason and what to do. A megabyte is too little for anything."""
    words = ("deploy", "--name", "tiny", "--image", "functions/alpine:latest", "--memory-limit", "1Mi")
    done = platform.hilbert(*words, "--ready-timeout", "20s", expect=1)
    assert done.stdout == b"", "what is not ready is not said to be deployed"
    assert done.stderr.startswith(b"warning: tiny: limits.memory: 1Mi is too little")
    assert b"\nerror: function tiny is not ready: " in done.stderr
    found = findings(platform, "tiny", expect=1)
    assert "tiny is failed, 0 of 1 replica ready: " in found["broken"][0]["what"]
    assert found["broken"][0]["todo"]


def test_doctor_of_what_is_not_there(platform: Platform) -> None:
    """With where to look."""
    (broken,) = findings(platform, "nothing", expect=1)["broken"]
    assert broken["what"] == "no such function: nothing"


def test_logs_follow_until_they_are_interrupted(platform: Platform) -> None:
    """A line appears when it is written; Ctrl-C ends it cleanly."""
    platform.hilbert("deploy", "--name", "say", "--image", "functions/alpine:latest", "--fprocess", "cat")
    process = subprocess.Popen(
        [HILBERT, "logs", "say"],
        env=platform.environ,
        cwd=platform.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        seen = b""

        def arrived() -> bool:
            nonlocal seen
            platform.hilbert("invoke", "say", stdin=b"hello from far\n")
            seen += process.stdout.read() or b""  # type: ignore[union-attr]  # checked above
            return b"Wrote 15 Bytes" in seen

        until(arrived, what="the line")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, b"")


def test_a_stack_file_is_deployed_by_up(here: Platform, port: int) -> None:
    """On a platform that is started for it, since none runs."""
    if _default_port_is_taken():
        pytest.skip("something listens on 127.0.0.1:8080, which would be taken for the gateway")
    here.environ |= {"HILBERT_GATEWAY__PORT": str(port), "OPENFAAS_URL": ""}
    (here.folder / "stack.yaml").write_text(
        "functions:\n  hash:\n    skip_build: true\n    image: functions/alpine:latest\n    fprocess: sha512sum\n"
    )
    said = here.hilbert("up").stdout.decode()
    assert f"The gateway is running at http://127.0.0.1:{port} " in said
    assert f"URL: http://127.0.0.1:{port}/function/hash" in said
    assert len(here.hilbert("invoke", "hash", stdin=b"x").stdout.split()[0]) == 128
    assert b"gateway runs" not in here.hilbert("up").stdout
    here.hilbert("down")


def _default_port_is_taken() -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", 8080)) == 0


def test_no_process_of_the_tests_is_left() -> None:
    """Neither of this file's."""
    left = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # A zombie is one of these too: it has ended.
            if "hilbert.server" in " ".join(child.cmdline()):
                left.append(child.pid)
    assert left == []
