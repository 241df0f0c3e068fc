"""Docker as the builder: a Dockerfile is built by its daemon, lands in the local store without a registry, and runs without Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.container_images import busybox_layer, missing_for_images
from support.platform import HILBERT, Platform, running, until

DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
COPY index.html /www/index.html
USER 1000
ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[str]:
    """A daemon in a network of its own, with nothing of it anywhere else; where it listens."""
    lacking = [name for name in ("dockerd", "docker", "unshare", "ip") if shutil.which(name) is None]
    if os.geteuid() != 0 or lacking or not busybox_layer():
        pytest.skip(
            f"a dockerd takes root, docker.io and busybox-static: {', '.join(lacking) or 'not all of them here'}"
        )
    if missing := missing_for_images():
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="hb-docker-"))
    where = f"unix://{folder}/sock"
    (folder / "daemon.json").write_text("{}")
    script = 'ip link set lo up && exec dockerd --data-root "$0/root" --exec-root "$0/exec" --pidfile "$0/pid" -H "$1" --config-file "$0/daemon.json"'
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script, str(folder), where],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    environ = {**os.environ, "DOCKER_HOST": where}

    def answers() -> bool:
        if daemon.poll() is not None:
            pytest.skip(f"dockerd does not run here: {(folder / 'log').read_text()[-300:]}")
        return subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 0

    try:
        until(answers, within=60, what="dockerd to answer")
        yield where
    finally:
        if daemon.poll() is None:
            daemon.terminate()
            daemon.wait(60)
        left = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
        for place in reversed(left):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running() as found:
        yield found


def _hilbert(platform: Platform, folder: Path, docker: str, *words: str) -> str:
    done = subprocess.run(
        [HILBERT, *words], env={**platform.environ, "DOCKER_HOST": docker}, cwd=folder, capture_output=True, timeout=120, check=False
    )  # fmt: skip
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    return said


def test_up_builds_with_docker_and_runs_without(docker: str, platform: Platform, tmp_path: Path) -> None:
    _hilbert(platform, tmp_path, docker, "new", "page", "--lang", "dockerfile", "--quiet")
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, tmp_path / "page" / "busybox")
    (tmp_path / "page" / "index.html").write_text("first")
    (tmp_path / "page" / "Dockerfile").write_text(DOCKERFILE)
    said = _hilbert(platform, tmp_path, docker, "up")
    assert "image page:latest" in said, said
    shown = subprocess.run(
        ["docker", "image", "inspect", "page:latest"], env={**os.environ, "DOCKER_HOST": docker}, capture_output=True, check=False
    )  # fmt: skip
    assert shown.returncode == 0, "it was docker that built it"
    assert platform.call("/function/page").text == "first"
    (tmp_path / "page" / "index.html").write_text("second")
    _hilbert(platform, tmp_path, docker, "up")
    until(lambda: platform.call("/function/page").text == "second", what="the new image", log=lambda: platform.log)
    listed = _hilbert(platform, tmp_path, docker, "images", "list")
    assert "page:latest" in listed
    assert "image, built" in listed, listed
    described = platform.hilbert("describe", "page").stdout.decode()
    for word in ("bubblewrap", "sha256:", "tenant"):
        assert word in described, described
