"""The host provider's database, as an older version left it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.core.errors import BackendUnavailable, QuotaExceeded
from hilbert.core.isolation import Promise
from hilbert.core.model import FunctionSpec, Namespace, Secret
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle
from hilbert.core.values import DEFAULT_NAMESPACE, Duration, FunctionName, FunctionRef, NamespaceName, SecretName
from hilbert.kit.sqlite import Database
from hilbert.providers import room
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


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    database = open_database(tmp_path / "hilbert.db")
    made = Store(database)
    for name, stated in {"dev": {}, "other": {}, "stated": {"com.hilbert.quota.functions": "5"}}.items():
        await made.create_namespace(Namespace(name=NamespaceName(name), annotations=stated))
    yield made
    database.close()


def _spec(name: str, size: int = 0, namespace: str = "dev") -> FunctionSpec:
    ref = FunctionRef(NamespaceName(namespace), FunctionName(name))
    return FunctionSpec(ref=ref, image="i", env={"X": "x" * size} if size else {})


async def _apply(store: Store, spec: FunctionSpec) -> None:
    await store.apply(spec, create=None, pin="", max_replicas=1)


@pytest.mark.bound("kept-functions")
async def test_functions_of_a_namespace_without_a_quota_have_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In number and in bytes: they are all in memory. Others go on, and what takes less than before is always taken."""
    monkeypatch.setattr(room, "FUNCTIONS", room.FUNCTIONS._replace(most=3, size=10_000))
    for name in ("a", "b", "c"):
        await _apply(store, _spec(name, 1000))
    with pytest.raises(QuotaExceeded, match="has 3 functions"):
        await _apply(store, _spec("d"))
    with pytest.raises(QuotaExceeded, match="would take more than"):
        await _apply(store, _spec("a", 9000))
    await _apply(store, _spec("a", 6000))
    monkeypatch.setattr(room, "FUNCTIONS", room.FUNCTIONS._replace(size=100))
    await _apply(store, _spec("a", 5000))
    monkeypatch.setattr(room, "FUNCTIONS", room.FUNCTIONS._replace(size=10_000))
    await _apply(store, _spec("a", namespace="other"))
    for name in ("a", "b", "c", "d", "e"):
        await _apply(store, _spec(name, namespace="stated"))
    with pytest.raises(QuotaExceeded, match="quota has no room"):
        await _apply(store, _spec("f", namespace="stated"))


@pytest.mark.bound("kept-secrets")
async def test_secrets_of_a_namespace_without_a_quota_have_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SECRETS", room.SECRETS._replace(most=2, size=10_000))

    async def put(name: str, size: int, *, create: bool = True, namespace: str = "dev") -> None:
        await store.put_secret(Secret(NamespaceName(namespace), SecretName(name), b"x" * size), create=create)

    await put("a", 4000)
    await put("b", 4000)
    with pytest.raises(QuotaExceeded, match="has 2 secrets"):
        await put("c", 1)
    with pytest.raises(QuotaExceeded, match="would take more than"):
        await put("a", 7000, create=False)
    await put("a", 5000, create=False)
    await put("c", 5000, namespace="other")
