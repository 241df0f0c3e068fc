"""Removing folders in which somebody else made what they liked, and still does."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.kit.trees import NotFinished, remove_tree


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_files_links_pipes_and_folders_go_and_what_links_name_stays(tmp_path: Path, top: int) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "inner" / "file").write_text("kept")
    outside.chmod(0o500)
    tree = tmp_path / "tree"
    (tree / "a" / "b" / "c").mkdir(parents=True)
    (tree / "a" / "file").write_text("x")
    (tree / "a" / "b" / "link").symlink_to(outside)
    (tree / "link").symlink_to("/")
    os.mkfifo(tree / "a" / "b" / "pipe")
    os.link(outside / "inner" / "file", tree / "hard")
    (tree / "a" / "b" / "c").chmod(0)
    (tree / "a" / "b").chmod(0o500)
    remove_tree("tree", dir_fd=top)
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "inner" / "file").read_text() == "kept"
    assert outside.stat().st_mode & 0o777 == 0o500
    remove_tree("tree", dir_fd=top)  # Absence is success.
    (tmp_path / "link").symlink_to(outside)
    remove_tree("link", dir_fd=top)
    assert os.listdir(tmp_path) == ["outside"]


def test_any_depth(tmp_path: Path, top: int) -> None:
    """Deeper than a path may be long, than recursion goes, and than there are descriptors."""
    tree = os.open(tmp_path, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d" * 100, dir_fd=tree)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=tree)
        os.close(tree)
        tree = deeper
    os.close(tree)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree("d" * 100, dir_fd=top)
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_go_is_bounded_and_the_next_goes_on(tmp_path: Path, top: int) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    for number in range(50):
        (tmp_path / "tree" / "inner" / str(number)).touch()
    goes = 0
    while (tmp_path / "tree").exists():
        try:
            remove_tree("tree", dir_fd=top, steps=20)
        except NotFinished:
            goes += 1
            assert goes < 10
    assert goes >= 2


def test_folders_swapped_for_links_meanwhile_lead_nowhere(tmp_path: Path, top: int) -> None:
    """CVE-2022-21658 (Rust's remove_dir_all) is of this kind."""
    outside = tmp_path / "outside"
    for number in range(50):
        (outside / str(number)).mkdir(parents=True)
        (outside / str(number)).chmod(0o711)
        (outside / str(number) / "file").touch()
    done = threading.Event()

    def swap() -> None:
        count = 0
        while not done.is_set():
            count = (count + 1) % 20
            here = tmp_path / "tree" / f"d{count}"
            try:
                here.symlink_to(outside / str(count)) if count % 2 else here.mkdir()
                os.rename(here, tmp_path / "tree" / f"d{(count + 7) % 20}")
            except OSError:
                pass

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(200):
            with contextlib.suppress(FileExistsError, FileNotFoundError):  # It changes meanwhile.
                (tmp_path / "tree" / "d0").mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError, NotFinished):
                remove_tree("tree", dir_fd=top, steps=500)
    finally:
        done.set()
        thread.join()
    left = {str(path.relative_to(outside)): path.stat().st_mode & 0o777 for path in outside.iterdir()}
    assert left == {str(number): 0o711 for number in range(50)}
    assert len(list(outside.glob("*/file"))) == 50
