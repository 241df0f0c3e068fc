"""The host provider's database, as an older version left it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hilbert.core.errors import BackendUnavailable
from hilbert.core.isolation import Promise
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle
from hilbert.core.values import DEFAULT_NAMESPACE, Duration, FunctionName, FunctionRef, NamespaceName
from hilbert.kit.sqlite import Database
from hilbert.providers.host.decide import Revision
from hilbert.providers.host.record import ReplicaRecord
from hilbert.providers.host.store import MIGRATIONS, Store, open_database
from hilbert.providers.rules import required_promises

pytestmark = pytest.mark.anyio

BUBBLEWRAP = {Promise.FILES, Promise.IPC, Promise.PROCESSES, Promise.REMAINS}


async def test_a_demanded_sandbox_becomes_what_it_promised(tmp_path: Path) -> None:
    """Neither is a demand forgotten, nor a replica that keeps to it taken out by the new version."""
    old = Database(tmp_path / "hilbert.db", MIGRATIONS[:1])
    demanded = {"a": "bubblewrap", "b": "landlock", "c": "process"}

    def fill(db: sqlite3.Connection) -> None:
        for name, level in demanded.items():
            annotations = f'{{"com.hilbert.sandbox":"{level}","kept":"x"}}'
            db.execute(
                "INSERT INTO namespaces (name, labels, annotations, created_at) VALUES (?, '{}', ?, '2026-01-01')",
                (name, annotations),
            )
        db.execute(
            "INSERT INTO namespaces (name, labels, annotations, created_at) VALUES ('d', '{}', '{}', '2026-01-01')"
        )

    await old.write(fill)
    ref = FunctionRef(DEFAULT_NAMESPACE, FunctionName("f"))
    for name, revision in {"f-a": "3/host/bubblewrap", "f-b": "4/none/landlock", "f-c": "5/host/"}.items():
        handle = Handle(replica=name, ref=ref, generation=1)
        await Store(old).put_replica(ReplicaRecord(handle=handle, uid=1, revision=revision, grace=Duration(0)))
    old.close()
    database = open_database(tmp_path / "hilbert.db")
    try:
        loaded = await Store(database).load()
    finally:
        database.close()
    found = {tenant.namespace.name: tenant.namespace.annotations for tenant in loaded.tenants}
    assert {name: required_promises(annotations) for name, annotations in found.items()} == {
        NamespaceName("a"): BUBBLEWRAP,
        NamespaceName("b"): {Promise.FILES},
        NamespaceName("c"): set(),
        NamespaceName("d"): set(),
    }
    assert all("com.hilbert.sandbox" not in annotations for annotations in found.values())
    assert found[NamespaceName("a")]["kept"] == "x"
    assert {record.handle.replica: Revision.parse(record.revision) for record in loaded.replicas} == {
        "f-a": Revision(3, network=NetworkUse(NetworkKind.HOST), required=frozenset(BUBBLEWRAP)),
        "f-b": Revision(4, network=NetworkUse(NetworkKind.NONE), required=frozenset({Promise.FILES})),
        "f-c": Revision(5, network=NetworkUse(NetworkKind.HOST)),
    }


def _whole(path: Path) -> bytes:
    open_database(path).close()
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "halved", "flipped", "a byte", "a folder", "no database"])
def test_a_damaged_file_is_told_in_one_sentence_and_never_taken_for_a_new_one(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "hilbert.db"
    content = _whole(path)
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        middle = len(content) // 2
        path.write_bytes(
            {
                "empty": b"",
                "halved": content[:middle],
                "flipped": bytes(byte ^ 0xFF if 100 <= at < 5000 else byte for at, byte in enumerate(content)),
                "a byte": b"x",
                "no database": b"this was a letter to somebody" * 1000,
            }[damage]
        )
        content = path.read_bytes()
    with pytest.raises(BackendUnavailable, match="is damaged") as refusal:
        open_database(path).close()
    assert str(path) in refusal.value.message
    assert "backup" in refusal.value.hint
    assert path.is_dir() or path.read_bytes() == content, "it is left as it was found"


async def test_a_row_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    database = open_database(tmp_path / "hilbert.db")
    await database.write(
        lambda db: db.execute(
            "INSERT INTO namespaces (name, labels, annotations, created_at) VALUES ('Not A Name', '{', '{}', 'never')"
        )
    )
    try:
        with pytest.raises(BackendUnavailable, match="a row of the table namespaces"):
            await Store(database).load()
    finally:
        database.close()


def test_a_newer_version_s_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hilbert.db"
    _whole(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(BackendUnavailable, match="newer version"):
        open_database(path)
