"""The platform's folders: held by one platform at a time, and told about when they cannot be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from hilbert.core.errors import InvalidSettings, StorageFull
from hilbert.core.settings import PathSettings
from hilbert.server.folders import AlreadyRunning, lock, prepare


def test_a_folder_is_held_by_one_platform_at_a_time(tmp_path: Path) -> None:
    """Also a run folder: two states on one would answer each other's calls."""
    held = lock(tmp_path, key="paths.run_dir")
    with pytest.raises(AlreadyRunning, match=str(os.getpid())) as refusal:
        lock(tmp_path, key="paths.run_dir")
    assert "paths.run_dir" in refusal.value.hint
    os.close(held)
    os.close(lock(tmp_path, key="paths.run_dir"))


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()  # For root, too.
    with pytest.raises(StorageFull, match="cannot be written"):
        lock(tmp_path, key="paths.state_dir")


@pytest.mark.parametrize("name", ["auth", "images", "logs", "oci", "queue"])
def test_what_stands_where_a_folder_belongs_is_told_in_a_sentence(tmp_path: Path, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="hb-") as run:  # Its path has to be short.
        _place(tmp_path, PathSettings(state_dir=str(tmp_path / "s"), run_dir=run), name)


def _place(tmp_path: Path, paths: PathSettings, name: str) -> None:
    prepare(paths)
    inner = tmp_path / "s" / name
    inner.write_text("x")
    with pytest.raises(InvalidSettings, match=f"/s/{name} is damaged: it is not a folder"):
        prepare(paths)
    inner.unlink()
    inner.symlink_to(tmp_path / "s" / name)
    with pytest.raises(InvalidSettings, match="is damaged"):
        prepare(paths)
    inner.unlink()
    inner.symlink_to(tmp_path)  # On another disk, say.
    prepare(paths)
