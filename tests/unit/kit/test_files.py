"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hilbert.kit.files import create_file, write_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was brought to the disk, and when names changed, in order."""
    events: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def replace(*arguments: object, **options: object) -> None:
        events.append("replace")
        real_replace(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return events


def test_content_is_synced_before_the_name_and_the_name_afterwards(tmp_path: Path, synced: list[str]) -> None:
    write_file(tmp_path / "f", b"new")
    assert synced == ["file", "replace", "folder"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_mode_is_the_one_asked_for(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_file(tmp_path / "f", b"x", mode=0o644)
        create_file(tmp_path / "g", b"x")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "f"), mode(tmp_path / "g")) == (0o644, 0o600)


def test_the_mode_of_the_file_before_can_stay(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_file(path, b"1", mode=0o640, keep_mode=True)
    assert mode(path) == 0o640
    path.chmod(0o604)
    write_file(path, b"2", mode=0o640, keep_mode=True)
    assert (mode(path), path.read_bytes()) == (0o604, b"2")


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file_and_leaves_no_draft(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "f", b"old")

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="no space"):
        write_file(tmp_path / "f", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"old")]


def test_creating_keeps_a_file_that_is_there(tmp_path: Path) -> None:
    assert create_file(tmp_path / "f", b"1")
    assert not create_file(tmp_path / "f", b"2")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"1")]


def test_a_folder_that_is_swapped_on_the_way_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    folder = os.open(tmp_path / "home", os.O_RDONLY | os.O_DIRECTORY)
    try:
        (tmp_path / "home").rename(tmp_path / "moved")
        (tmp_path / "home").symlink_to("elsewhere")
        write_file(Path("f"), b"x", dir_fd=folder)
        assert create_file(Path("g"), b"x", dir_fd=folder)
    finally:
        os.close(folder)
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == ["f", "g"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_long_names_have_drafts_too(tmp_path: Path) -> None:
    write_file(tmp_path / ("n" * 255), b"x")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "no" / "f", b"x")
