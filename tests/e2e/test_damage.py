"""Damaged and missing state: said in a sentence, never taken for a new installation, and no replica is left behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from support.platform import Platform, running, until

ECHO = {"service": "echo", "image": "functions/alpine:latest", "envProcess": "cat"}


def deploy(platform: Platform) -> None:
    assert platform.api("POST", "/system/functions", ECHO).status == 202
    until(lambda: platform.call("/function/echo", b"x").body == b"x", what="echo", log=lambda: platform.log)


def whole(path: Path) -> None:
    """Bring everything into the one file, as a platform that was stopped has it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for rest in path.parent.glob(f"{path.name}-*"):
        rest.unlink()


def is_of_replica(process: psutil.Process) -> bool:
    """Whether it is no child of the supervisor's."""
    try:
        return "-m" not in process.cmdline() or "hilbert.runtimes" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return True


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[16 : len(data) : 7] = bytes(255 - byte for byte in data[16 : len(data) : 7])
    path.write_bytes(data)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def bad_row(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE functions SET spec = '{'")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def one_byte(path: Path) -> None:
    path.write_bytes(b"S")


@pytest.mark.parametrize("damage", [flip, halve, folder, bad_row, empty, one_byte])
def test_a_damaged_database_is_told_and_nothing_is_left(damage: Callable[[Path], None]) -> None:
    """After a kill of everything but a replica: that one ends, too."""
    with running("gateway.workers=1") as platform:
        deploy(platform)
        assert platform.process is not None
        platform.process.kill()
        platform.process.wait(10)
        database = platform.state / "hilbert.db"
        until(lambda: all(map(is_of_replica, platform.processes())), what="the children to end")
        whole(database)
        damage(database)
        seen = len(platform.log)
        with pytest.raises(AssertionError, match="ended with 3"):
            platform.start()
        said = platform.log[seen:]
        assert "hilbert.db" in said
        assert "Traceback" not in said
        assert "backup" in said
        assert b"is damaged" in platform.hilbert("doctor", expect=None).stdout or damage is bad_row
        until(lambda: not platform.processes(), within=5, what="the replica to end", log=lambda: platform.log)


@pytest.mark.parametrize(
    ("file", "damage"),
    [("tokens.db", empty), ("tokens.db", flip), ("queue/queue.db", one_byte), ("queue/queue.db", folder)],
)
def test_the_other_databases_are_not_begun_anew_either(file: str, damage: Callable[[Path], None]) -> None:
    """Tokens and queued calls must not vanish without a word."""
    with running("gateway.workers=1") as platform:
        assert platform.stop() == 0
        path = platform.state / file
        whole(path)
        damage(path)
        seen = len(platform.log)
        with pytest.raises(AssertionError, match="ended with 3"):
            platform.start()
        said = platform.log[seen:]
        assert path.name in said
        assert "Traceback" not in said
        assert "restore" in said


def test_damaged_while_it_runs(tmp_path: Path) -> None:
    """Calls go on and changes are refused, also when the control process is killed; with the backup all is well again."""
    with running("gateway.workers=1") as platform:
        deploy(platform)
        database = platform.state / "hilbert.db"
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(tmp_path / "backup")) as backup:
            source.backup(backup)
        for path in (database, database.with_name("hilbert.db-wal")):
            with path.open("r+b") as file:
                file.write(b"\xa5" * path.stat().st_size)
        answers = {
            platform.api("POST", "/system/secrets", {"name": f"s{number}", "value": "v"}).status for number in range(3)
        }
        assert answers <= {202, 503, 507}, answers
        assert platform.call("/function/echo", b"x").body == b"x"
        platform.children("hilbert.server.control")[0].kill()
        until(lambda: platform.log.count("is damaged") >= 2, what="two starts in vain", log=lambda: platform.log)
        assert platform.call("/function/echo", b"x").body == b"x"
        assert platform.api("GET", "/system/functions").status == 503
        for path in platform.state.glob("hilbert.db*"):
            path.unlink()
        shutil.copy(tmp_path / "backup", database)
        until(lambda: platform.api("GET", "/system/functions").status == 200, what="the API", log=lambda: platform.log)
        assert b"echo" in platform.api("GET", "/system/functions").body


def test_a_state_folder_that_cannot_be_written() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a folder read-only needs root")
    platform = Platform()
    platform.state.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", platform.state])
    if mounted.returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hilbert.server"], env=platform.environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 3
        assert "error: paths.state_dir:" in done.stderr
        assert "hint: " in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", "-l", platform.state], check=True)
        platform.close()
