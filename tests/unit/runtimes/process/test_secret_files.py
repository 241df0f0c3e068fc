"""The files of a replica's secrets: whole at each moment, those of others left, and gone with the replica."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.runtimes.replica.folder import make_folder, put_secrets, remove_secrets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "replica"
    make_folder(made, owner=None, etc={})
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}


def test_exactly_these_or_these_beside_others(folder: Path) -> None:
    put_secrets(folder, {"a": b"1", "b": b"1"}, user=None)
    (folder / "secrets" / ".new-a").write_bytes(b"half, of one who was killed")
    put_secrets(folder, {"b": b"2"}, user=None, keep=True)
    assert files(folder) == {"a": b"1", "b": b"2"}, "nothing half written stays"
    put_secrets(folder, {"b": b"3"}, user=None)
    assert files(folder) == {"b": b"3"}


def test_they_go_however_often_and_never_come_back(folder: Path) -> None:
    put_secrets(folder, {"a": b"1"}, user=None)
    for _ in range(2):
        remove_secrets(folder)
        assert not (folder / "secrets").exists()
    with pytest.raises(FileNotFoundError):
        put_secrets(folder, {"a": b"2"}, user=None, keep=True)
    assert not (folder / "secrets").exists()
