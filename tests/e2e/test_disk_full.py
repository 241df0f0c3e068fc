"""A full disk under the state directory: refused with a reason, nothing half done, and well again afterwards."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.platform import Platform, until


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A platform whose folders are on a tmpfs of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    started = Platform("gateway.workers=1", "log.level=error", folder=folder)
    try:
        yield started.start()
    finally:
        if started.process is not None and started.process.poll() is None:
            started.stop()
        for process in started.processes():
            process.kill()
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def test_full_disk(platform: Platform) -> None:
    function = {"service": "kept", "image": "functions/alpine:latest", "envProcess": "cat"}
    assert platform.api("POST", "/system/functions", function).status == 202
    until(lambda: platform.call("/function/kept", b"x").body == b"x", what="kept", log=lambda: platform.log)

    filler = platform.state / "filler"
    fill(filler)
    statuses = {
        platform.api("POST", "/system/secrets", {"name": f"s{n}", "value": "x" * 60_000}).status for n in range(40)
    }
    assert statuses & {507, 503}, statuses
    assert statuses <= {202, 503, 507}, statuses
    assert platform.call("/function/kept", b"x").body == b"x"
    listed = platform.api("GET", "/system/secrets")
    assert listed.status == 200

    filler.unlink()
    until(
        lambda: platform.api("POST", "/system/secrets", {"name": "after", "value": "x"}).status == 202,
        what="room again",
        log=lambda: platform.log,
    )
    assert platform.api("GET", "/system/function/kept").status == 200
