"""Outside the process runtime: a TCP port, a lock file, and log lines as OpenFaaS's watchdogs write them."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ports import held_port
from support.watchdog import SEARCH, START, until

LOCK = Path("/tmp/.lock")


@contextlib.contextmanager
def container(**env: str) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A watchdog on a port of its own: the process, its URL, its log."""
    import tempfile

    with held_port() as port, tempfile.NamedTemporaryFile(prefix="hb-") as log:
        command = [sys.executable, "-I", "-S", "-c", START, SEARCH]
        environment = {"PATH": "/usr/bin:/bin", "port": str(port), "fprocess": "cat"} | env
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: status(url + "/_/health") == 200, what="health")
            yield process, url, Path(log.name)
        finally:
            process.kill()
            process.wait(10)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_a_port_and_openfaas_log_lines() -> None:
    """Served on TCP; start-up lines with Go's date and no stamp of ours."""
    with container(suppress_lock="true", healthcheck_interval="50ms") as (process, url, log):
        with urllib.request.urlopen(url, data=b"hello", timeout=10) as answer:
            assert answer.read() == b"hello"
        lines = log.read_text().splitlines()
        date = r"20\d\d/\d\d/\d\d \d\d:\d\d:\d\d "
        assert re.fullmatch(date + 'Watchdog mode: streaming\tfprocess: "cat"', lines[0])
        assert re.fullmatch(date + "Timeouts: read: 30s write: 30s hard: 30s health: 0.05s", lines[1])
        assert re.fullmatch(date + rf"Listening on port: {url.rpartition(':')[2]}", lines[2])
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert log.read_text().splitlines()[-1].endswith("SIGTERM: no new connections in 0.05s")


def test_the_lock_file() -> None:
    """Written when calls are taken; the watchdog is down without it; removed at the end."""
    if LOCK.exists():
        pytest.skip(f"{LOCK} belongs to somebody else")
    with container(healthcheck_interval="10ms") as (process, url, log):
        assert LOCK.exists()
        assert f"Writing lock-file to: {LOCK}" in log.read_text()
        LOCK.unlink()
        assert status(url + "/_/health") == 503
        assert status(url + "/_/ready") == 503
        LOCK.touch()
        assert status(url + "/_/ready") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not LOCK.exists()


def test_a_port_that_is_taken() -> None:
    """Said in the last line, with a status that is not 0."""
    with container(suppress_lock="true") as (_, url, _log):
        port = url.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", START, SEARCH],
            env={"PATH": "/usr/bin:/bin", "fprocess": "cat", "port": port, "suppress_lock": "true"},
            capture_output=True,
            timeout=20,
        )
    assert done.returncode == 3
    assert done.stderr.decode().endswith(f"Cannot start: cannot listen on port {port}: Address already in use\n")
