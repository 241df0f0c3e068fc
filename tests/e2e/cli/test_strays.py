"""`doctor` after `kill -9`: what is left is listed and removed, and nothing that is somebody else's."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.container_images import busybox_layer, layer, load, missing_for_images, store_of_tests, write_image
from support.platform import Platform, until


class Family:
    """A platform with a bundle and, where this machine runs them, an image; and what there is of it on this machine."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where an image is made; without one, there is none."""
        self.platform = Platform("process.spares=1")
        self.platform.environ["HILBERT_PROCESS__SPARES"] = "1"
        self.run = self.platform.folder / "r"
        self.network = hashlib.sha256(bytes(self.run)).hexdigest()[:4]
        self.group = f"hilbert-{hashlib.sha256(str(self.run / 'r').encode()).hexdigest()[:8]}"
        self.names = ["bundle"]
        self.platform.start()
        spec = {"service": "bundle", "image": "functions/alpine:latest", "envProcess": "echo here"}
        assert self.platform.api("POST", "/system/functions", spec).status == 202
        if folder is not None and busybox_layer() and not missing_for_images():
            (self.platform.state / "oci").symlink_to(store_of_tests())
            entry = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
            files = layer({"www/index.html": "hi"})
            load(write_image(folder / "stray.tar", [busybox_layer(), files], entrypoint=entry), "stray")
            assert self.platform.api("POST", "/system/functions", {"service": "image", "image": "stray"}).status == 202
            self.names.append("image")
        for name in self.names:
            self.until_ready(name)

    def until_ready(self, name: str) -> None:
        def ready() -> bool:
            return self.platform.api("GET", f"/system/function/{name}").text.find('"availableReplicas":1') >= 0

        until(ready, within=90, what=f"{name} to be ready", log=lambda: self.platform.log)

    def links(self) -> list[str]:
        return [name for _, name in socket.if_nameindex() if name.startswith(f"hb{self.network}")]

    def table(self) -> bool:
        if os.geteuid() != 0:
            return False
        command = ["nft", "list", "table", "inet", f"hilbert-{self.network}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def groups(self) -> list[str]:
        return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == self.group]

    def folders(self) -> list[str]:
        return [f"{name}/{left}" for name in ("r", "trash", "pipes") for left in os.listdir(self.run / name)]

    def doctor(self, *words: str) -> list[dict[str, object]]:
        """What it found of strays."""
        found = json.loads(self.platform.hilbert("doctor", *words, "--output", "json", expect=None).stdout)
        return [entry for entry in found if "killed" in entry["what"] or "removed" in entry["what"]]

    def all_counts(self) -> dict[str, Any]:
        return {"processes": [one.pid for one in self.platform.processes()], "links": self.links(), "table": self.table(),
                "groups": self.groups(), "folders": self.folders()}  # fmt: skip


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    family.platform.close()


@pytest.mark.parametrize("replicas_too", [False, True], ids=["replicas go on", "everything killed"])
def test_what_a_killed_platform_left_is_listed_and_removed(family: Family, replicas_too: bool) -> None:
    process = family.platform.process
    assert process is not None
    if replicas_too:
        family.platform.kill_everything()
    else:
        members = [
            *family.platform.children("hilbert.server.control"),
            *family.platform.children("hilbert.dataplane.worker"),
        ]
        process.kill()
        process.wait(10)
        until(lambda: not any(member.is_running() for member in members), what="its children to end")
        assert family.platform.replicas(), "they wait for the next platform"
    before = family.all_counts()
    (listed,) = family.doctor()
    assert listed["level"] == "warning"
    assert "hilbert doctor --fix" in str(listed["todo"])
    if not replicas_too:
        assert f"{len(family.names)} sandbox" in str(listed["what"])
        assert "takes its replicas back" in str(listed["todo"])
    assert family.all_counts()["folders"] == before["folders"], "looking changes nothing"
    (removed,) = family.doctor("--fix", "--yes")
    assert removed["level"] == "ok"
    assert "removed" in str(removed["what"])
    until(
        lambda: family.all_counts() == {kind: [] for kind in before} | {"table": False},
        what="all to be gone",
        log=lambda: str(family.all_counts()),
    )
    assert "nothing is left" in str(family.doctor()[0]["what"]) or family.group not in str(family.doctor())
    if not replicas_too:
        return
    family.platform.start()
    for name in family.names:
        family.until_ready(name)


def test_what_lives_is_left_alone(family: Family) -> None:
    """By a doctor of its own, and by one of another platform, which was killed."""
    before = family.all_counts()
    assert family.group not in str(family.doctor("--fix", "--yes"))
    other = Family()
    try:
        other.platform.kill_everything()
        other.doctor("--fix", "--yes")
        assert not other.groups()
        assert not other.folders()
        assert not other.table()
    finally:
        other.platform.close()
    after = family.all_counts()
    assert after["table"] == before["table"]
    for kind in ("links", "groups"):  # Spares may have been made meanwhile.
        assert set(before[kind]) <= set(after[kind])
    assert family.platform.call("/function/bundle", b"").text == "here\n"


def test_fix_is_for_this_machine_alone() -> None:
    platform = Platform()
    try:
        for words in (["bundle"], ["--namespace", "dev"], ["--gateway", "http://192.0.2.1:8080"]):
            done = platform.hilbert("doctor", *words, "--fix", expect=2)
            assert b"--fix is for this machine's installation" in done.stderr
    finally:
        platform.close()
