"""The platform's folders: held by one platform at a time, and told about when they cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hilbert.core.errors import StorageFull
from hilbert.server.folders import AlreadyRunning, lock


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
