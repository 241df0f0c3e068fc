"""Ctrl-C, and readers that go away."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Gateway
from support.platform import HILBERT, until


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway().start()
    found.password = None
    yield found
    found.close()


def environ(gateway: Gateway, folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OPENFAAS_URL": gateway.url, "HILBERT_STATE_DIR": str(folder)}


def test_a_deployment_that_waits_is_interrupted_at_once(gateway: Gateway, tmp_path: Path) -> None:
    """Also when several are waited for by several threads."""
    gateway.polls_until_ready = 1_000_000
    functions = "".join(f"  f{n}: {{skip_build: true, image: i}}\n" for n in range(3))
    (tmp_path / "stack.yaml").write_text(f"functions:\n{functions}")
    process = subprocess.Popen(
        [HILBERT, "deploy"],
        env=environ(gateway, tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: len({call.path for call in gateway.calls if call.path.startswith("/system/function/")}) == 3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, b"")
    assert out == b"", "nothing is said to be deployed that was not seen ready"


def test_a_reader_that_goes_away_is_no_failure(gateway: Gateway, tmp_path: Path) -> None:
    """`hilbert ... | head -1` says nothing on standard error."""
    for number in range(3000):
        gateway.add(f"function-{number}")
    done = subprocess.run(
        ["bash", "-c", f"'{HILBERT}' list | head -1; echo ${{PIPESTATUS[0]}}"],
        env=environ(gateway, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    first, status = done.stdout.splitlines()
    assert first.startswith("Function ")
    assert status == "141"
