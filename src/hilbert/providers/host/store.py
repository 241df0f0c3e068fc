"""The host provider's database: each promise is one transaction, checked and written in one piece."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeVar

import msgspec

from hilbert.core.errors import (
    AlreadyExists,
    BackendUnavailable,
    FunctionNotFound,
    HilbertError,
    InvalidSpec,
    NamespaceNotFound,
    SecretNotFound,
    StorageFull,
)
from hilbert.core.model import LABEL_SCALE_MIN, FunctionSpec, Namespace, Secret
from hilbert.core.ports import Handle
from hilbert.core.values import Duration, FunctionRef, NamespaceName, SecretName
from hilbert.kit.sqlite import Damaged, Database, open_whole
from hilbert.providers import quota, room
from hilbert.providers.host.record import FunctionRecord, Loaded, ReplicaRecord, TenantRecord
from hilbert.providers.rules import initial_replicas, updated_replicas

T = TypeVar("T")

MIGRATIONS: Final = (
    """
    CREATE TABLE namespaces (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        labels TEXT NOT NULL,
        annotations TEXT NOT NULL,
        created_at TEXT NOT NULL
    );
    CREATE TABLE functions (
        uid INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant INTEGER NOT NULL REFERENCES namespaces (number) ON DELETE CASCADE,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        replicas INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        pin TEXT NOT NULL,
        created_at TEXT NOT NULL,
        UNIQUE (namespace, name)
    );
    CREATE INDEX functions_by_tenant ON functions (tenant);
    CREATE TABLE secrets (
        tenant INTEGER NOT NULL REFERENCES namespaces (number) ON DELETE CASCADE,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (tenant, name)
    ) WITHOUT ROWID;
    CREATE TABLE replicas (
        replica TEXT PRIMARY KEY,
        uid INTEGER NOT NULL,
        revision TEXT NOT NULL,
        grace_ns INTEGER NOT NULL,
        handle TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    # A sandbox's name gave way to what it promises: namespaces keep what they demanded, running replicas what they got.
    """
    UPDATE namespaces SET annotations = json_remove(
        json_set(annotations, '$."com.hilbert.isolation"',
            CASE json_extract(annotations, '$."com.hilbert.sandbox"')
                WHEN 'bubblewrap' THEN 'files,ipc,processes,remains' WHEN 'landlock' THEN 'files' ELSE '' END),
        '$."com.hilbert.sandbox"')
    WHERE json_type(annotations, '$."com.hilbert.sandbox"') IS NOT NULL;
    UPDATE replicas SET revision = replace(replace(replace(
        revision, '/bubblewrap', '/files,ipc,processes,remains'), '/landlock', '/files'), '/process', '/');
    """,
    # Which values of its secrets a generation was made for: a deployment after a change of one is a new generation.
    """
    ALTER TABLE secrets ADD COLUMN stamp TEXT NOT NULL DEFAULT '';
    ALTER TABLE functions ADD COLUMN secret_stamps TEXT NOT NULL DEFAULT '';
    """,
)

_FULL_SQLITE: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)
_FULL_OS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


_COUNT: Final = "SELECT count(*) FROM {0} WHERE tenant = ?"
_SIZE: Final = "SELECT coalesce(sum(length({1})), 0) FROM {0} WHERE tenant = ?"
_DAMAGED_SQLITE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def open_database(path: Path) -> Database:
    """Open or create the host provider's database.

    Raises `StorageFull`, and `BackendUnavailable` for a file that is there and is not a whole database: it is never taken
    for a new one.
    """
    with storage_errors(path):
        try:
            return open_whole(path, MIGRATIONS)
        except Damaged as exc:
            raise _damaged(path, str(exc)) from exc
        except RuntimeError as exc:
            raise BackendUnavailable(str(exc), hint="run the version that wrote it, or a newer one") from exc


def _damaged(path: Path | None, fault: str) -> BackendUnavailable:
    name = "the database of functions and secrets (hilbert.db)" if path is None else str(path)
    return BackendUnavailable(
        f"{name} is damaged: {fault}",
        hint="stop the platform, move the file away with its -wal and -shm, and put a backup in its place; "
        "without one, it starts empty",
    )


def stored_handles(path: Path) -> list[Handle]:
    """The handles of all replicas, as far as the file can be read; changes nothing."""
    found: list[Handle] = []
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
    ):
        for _uid, _revision, _grace, handle in db.execute(_REPLICAS):
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(msgspec.json.decode(handle, type=Handle))
    return found


@contextlib.contextmanager
def storage_errors(path: Path | None = None) -> Iterator[None]:
    """Translate a full or broken disk into `StorageFull`, a damaged database into `BackendUnavailable`. The rest passes."""
    try:
        yield
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGED_SQLITE:
            raise _damaged(path, str(exc)) from exc
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _FULL_SQLITE:
            raise _storage_full(str(exc)) from exc
        raise
    except OSError as exc:
        if exc.errno in _FULL_OS:
            raise _storage_full(str(exc)) from exc
        raise


def _storage_full(detail: str) -> StorageFull:
    return StorageFull(
        "the disk of the state directory is full or cannot be written; nothing was changed",
        detail=detail,
        hint="free some space in the state directory and try again",
    )


class Store:
    """The tables as functions. Every method is one transaction, and raises `StorageFull` besides what it says."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Loaded:
        """Raises `BackendUnavailable` for a row that cannot be read."""

        def work(db: sqlite3.Connection) -> Loaded:
            with _sound_rows("namespaces"):
                tenants = tuple(_tenant(row) for row in db.execute(f"{_TENANTS} ORDER BY name"))
            with _sound_rows("functions"):
                functions = tuple(_function(row) for row in db.execute(_FUNCTIONS))
            with _sound_rows("replicas"):
                replicas = tuple(_replica(row) for row in db.execute(_REPLICAS))
            return Loaded(tenants=tenants, functions=functions, replicas=replicas)

        return await self._read(work)

    async def create_namespace(self, namespace: Namespace) -> TenantRecord:
        """Raises `AlreadyExists`."""

        def work(db: sqlite3.Connection) -> TenantRecord:
            if db.execute("SELECT 1 FROM namespaces WHERE name = ?", (namespace.name,)).fetchone():
                raise AlreadyExists(f"namespace {namespace.name} already exists")
            created_at = datetime.now(UTC)
            db.execute(
                "INSERT INTO namespaces (name, labels, annotations, created_at) VALUES (?, ?, ?, ?)",
                (namespace.name, _json(namespace.labels), _json(namespace.annotations), created_at.isoformat()),
            )
            return _tenant(db.execute(f"{_TENANTS} WHERE name = ?", (namespace.name,)).fetchone())

        return await self._write(work)

    async def update_namespace(self, namespace: Namespace) -> TenantRecord:
        """Raises `NamespaceNotFound`."""

        def work(db: sqlite3.Connection) -> TenantRecord:
            number = _tenant_number(db, namespace.name)
            db.execute(
                "UPDATE namespaces SET labels = ?, annotations = ? WHERE number = ?",
                (_json(namespace.labels), _json(namespace.annotations), number),
            )
            return _tenant(db.execute(f"{_TENANTS} WHERE number = ?", (number,)).fetchone())

        return await self._write(work)

    async def delete_namespace(self, name: NamespaceName) -> None:
        """With its functions and secrets; replicas stay until they are stopped. Raises `NamespaceNotFound`."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM namespaces WHERE number = ?", (_tenant_number(db, name),))

        await self._write(work)

    async def apply(self, spec: FunctionSpec, *, create: bool | None, pin: str, max_replicas: int) -> FunctionRecord:
        """Insert or replace a function. One that would not change keeps its generation.

        Raises `NamespaceNotFound`, `AlreadyExists`, `FunctionNotFound`, `SecretNotFound`, `InvalidSpec` and
        `QuotaExceeded`.
        """
        ref = spec.ref
        initial = initial_replicas(spec.labels)
        if initial > max_replicas:
            raise InvalidSpec(
                f"label {LABEL_SCALE_MIN}: {initial} is more than this machine's limit of {max_replicas} replicas "
                "per function (setting provider.max_replicas)"
            )

        def work(db: sqlite3.Connection) -> FunctionRecord:
            tenant = _tenant_number(db, ref.namespace)
            old = _find(db, ref)
            if create is True and old is not None:
                raise AlreadyExists(f"function {ref} already exists")
            if create is False and old is None:
                raise FunctionNotFound(f"function {ref} not found")
            known = dict(db.execute("SELECT name, stamp FROM secrets WHERE tenant = ?", (tenant,)).fetchall())
            for secret in spec.secrets:
                if secret not in known:
                    raise SecretNotFound(f"unable to find secret: {secret}")
            stamps = "".join(known[secret] for secret in spec.secrets)
            text = msgspec.json.encode(spec).decode()
            replicas = initial if old is None else updated_replicas(spec.labels, old.replicas)
            _check_quota(db, tenant, spec, replicas)
            before = None if old is None else len(msgspec.json.encode(old.spec))
            _check_room(db, tenant, room.FUNCTIONS, "spec", before=before, after=len(text), what=f"function {ref}")
            if old is None:
                db.execute(
                    "INSERT INTO functions (tenant, namespace, name, spec, replicas, generation, pin, created_at,"
                    " secret_stamps) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)",
                    (tenant, ref.namespace, ref.name, text, initial, pin, datetime.now(UTC).isoformat(), stamps),
                )
            else:
                changed = old.spec != spec or old.pin != pin or old.secret_stamps != stamps
                db.execute(
                    "UPDATE functions SET spec = ?, replicas = ?, generation = ?, pin = ?, secret_stamps = ?"
                    " WHERE uid = ?",
                    (text, replicas, old.generation + changed, pin, stamps, old.uid),
                )
            return _found(db, ref)

        return await self._write(work)

    async def scale(self, ref: FunctionRef, replicas: int) -> FunctionRecord:
        """Raises `FunctionNotFound` and `QuotaExceeded`."""

        def work(db: sqlite3.Connection) -> FunctionRecord:
            found = _found(db, ref)
            _check_quota(db, found.tenant, found.spec, replicas)
            db.execute("UPDATE functions SET replicas = ? WHERE uid = ?", (replicas, found.uid))
            return _found(db, ref)

        return await self._write(work)

    async def restart(self, ref: FunctionRef) -> FunctionRecord:
        """Begin a new generation of the same spec. Raises `FunctionNotFound`."""

        def work(db: sqlite3.Connection) -> FunctionRecord:
            db.execute("UPDATE functions SET generation = generation + 1 WHERE uid = ?", (_found(db, ref).uid,))
            return _found(db, ref)

        return await self._write(work)

    async def remove(self, ref: FunctionRef) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM functions WHERE namespace = ? AND name = ?", (ref.namespace, ref.name))

        await self._write(work)

    async def put_replica(self, record: ReplicaRecord) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR REPLACE INTO replicas (replica, uid, revision, grace_ns, handle) VALUES (?, ?, ?, ?, ?)",
                (
                    record.handle.replica,
                    record.uid,
                    record.revision,
                    record.grace.ns,
                    msgspec.json.encode(record.handle).decode(),
                ),
            )

        await self._write(work)

    async def forget_replica(self, replica: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM replicas WHERE replica = ?", (replica,))

        await self._write(work)

    async def secret_names(self, namespace: NamespaceName) -> list[SecretName]:
        """By name. Raises `NamespaceNotFound`."""

        def work(db: sqlite3.Connection) -> list[SecretName]:
            tenant = _tenant_number(db, namespace)
            rows = db.execute("SELECT name FROM secrets WHERE tenant = ? ORDER BY name", (tenant,))
            return [SecretName(name) for (name,) in rows]

        return await self._read(work)

    async def secret_values(
        self, tenant: int, names: tuple[SecretName, ...], *, missing_ok: bool = False
    ) -> Mapping[str, bytes]:
        """Values by name. Raises `SecretNotFound`, unless `missing_ok` leaves out what is not there."""

        def work(db: sqlite3.Connection) -> Mapping[str, bytes]:
            values: dict[str, bytes] = {}
            for name in names:
                row = db.execute("SELECT value FROM secrets WHERE tenant = ? AND name = ?", (tenant, name)).fetchone()
                if row is not None:
                    values[name] = row[0]
                elif not missing_ok:
                    raise SecretNotFound(f"unable to find secret: {name}")
            return values

        return await self._read(work) if names else {}

    async def put_secret(self, secret: Secret, *, create: bool) -> None:
        """Raises `NamespaceNotFound` and `QuotaExceeded`, and `AlreadyExists` or `SecretNotFound` by `create`."""

        def work(db: sqlite3.Connection) -> None:
            tenant = _tenant_number(db, secret.namespace)
            key = (tenant, secret.name)
            exists = db.execute("SELECT 1 FROM secrets WHERE tenant = ? AND name = ?", key).fetchone() is not None
            if create and exists:
                raise AlreadyExists(f"secret {secret.name} already exists in namespace {secret.namespace}")
            if not create and not exists:
                raise SecretNotFound(f"unable to find secret: {secret.name}")
            if create:
                (count,) = db.execute("SELECT count(*) FROM secrets WHERE tenant = ?", (tenant,)).fetchone()
                quota.check_secrets(_annotations(db, tenant), count, f"secret {secret.name}")
            before = db.execute("SELECT length(value) FROM secrets WHERE tenant = ? AND name = ?", key).fetchone()
            after, what = len(secret.value), f"secret {secret.name}"
            _check_room(db, tenant, room.SECRETS, "value", before=before and before[0], after=after, what=what)
            same = "SELECT 1 FROM secrets WHERE tenant = ? AND name = ? AND value = ?"
            if exists and db.execute(same, (*key, secret.value)).fetchone():
                return
            db.execute(
                "INSERT OR REPLACE INTO secrets (tenant, name, value, stamp) VALUES (?, ?, ?, ?)",
                (*key, secret.value, token_hex(8)),
            )

        await self._write(work)

    async def delete_secret(self, namespace: NamespaceName, name: SecretName) -> None:
        """Raises `NamespaceNotFound` and `SecretNotFound`."""

        def work(db: sqlite3.Connection) -> None:
            key = (_tenant_number(db, namespace), name)
            if db.execute("DELETE FROM secrets WHERE tenant = ? AND name = ?", key).rowcount == 0:
                raise SecretNotFound(f"unable to find secret: {name}")

        await self._write(work)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with storage_errors():
            return await self._database.write(work)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with storage_errors():
            return await self._database.read(work)


_TENANTS: Final = "SELECT number, name, labels, annotations, created_at FROM namespaces"
_FUNCTIONS: Final = "SELECT uid, tenant, spec, replicas, generation, pin, created_at, secret_stamps FROM functions"
_REPLICAS: Final = "SELECT uid, revision, grace_ns, handle FROM replicas"


def _json(values: Mapping[str, str]) -> str:
    return msgspec.json.encode(values).decode()


def _tenant(row: tuple[Any, ...]) -> TenantRecord:
    number, name, labels, annotations, created_at = row
    return TenantRecord(
        number=number,
        namespace=Namespace(
            name=NamespaceName(name),
            labels=msgspec.json.decode(labels, type=dict[str, str]),
            annotations=msgspec.json.decode(annotations, type=dict[str, str]),
            created_at=datetime.fromisoformat(created_at),
        ),
    )


@contextlib.contextmanager
def _sound_rows(table: str) -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, HilbertError, ValueError, TypeError) as exc:
        raise _damaged(None, f"a row of the table {table} cannot be read: {exc}") from exc


def _replica(row: tuple[Any, ...]) -> ReplicaRecord:
    uid, revision, grace_ns, handle = row
    return ReplicaRecord(
        handle=msgspec.json.decode(handle, type=Handle), uid=uid, revision=revision, grace=Duration(grace_ns)
    )


def _function(row: tuple[Any, ...]) -> FunctionRecord:
    uid, tenant, spec, replicas, generation, pin, created_at, secret_stamps = row
    return FunctionRecord(
        uid=uid,
        tenant=tenant,
        spec=msgspec.json.decode(spec, type=FunctionSpec),
        replicas=replicas,
        generation=generation,
        pin=pin,
        created_at=datetime.fromisoformat(created_at),
        secret_stamps=secret_stamps,
    )


def _tenant_number(db: sqlite3.Connection, name: NamespaceName) -> int:
    row = db.execute("SELECT number FROM namespaces WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NamespaceNotFound(f"namespace {name} not found")
    number: int = row[0]
    return number


def _annotations(db: sqlite3.Connection, tenant: int) -> Mapping[str, str]:
    (text,) = db.execute("SELECT annotations FROM namespaces WHERE number = ?", (tenant,)).fetchone()
    return msgspec.json.decode(text, type=dict[str, str])


def _check_quota(db: sqlite3.Connection, tenant: int, spec: FunctionSpec, replicas: int) -> None:
    """Raise `QuotaExceeded` and `InvalidSpec` if the namespace has no room for the function with so many replicas."""
    annotations = _annotations(db, tenant)
    quota.check_resources(spec, annotations)
    rows = db.execute(f"{_FUNCTIONS} WHERE tenant = ?", (tenant,)) if quota.is_limited(annotations) else ()
    now = {record.spec.ref: (record.spec, record.replicas) for record in map(_function, rows)}
    then = {**now, spec.ref: (spec, replicas)}
    before, after = (
        [quota.demand(count, each.limits, each.requests, annotations) for each, count in state.values()]
        for state in (now, then)
    )
    quota.check(annotations, before, after, f"function {spec.ref}")


def _find(db: sqlite3.Connection, ref: FunctionRef) -> FunctionRecord | None:
    row = db.execute(f"{_FUNCTIONS} WHERE namespace = ? AND name = ?", (ref.namespace, ref.name)).fetchone()
    return None if row is None else _function(row)


def _found(db: sqlite3.Connection, ref: FunctionRef) -> FunctionRecord:
    record = _find(db, ref)
    if record is None:
        raise FunctionNotFound(f"function {ref} not found")
    return record


def _check_room(
    db: sqlite3.Connection, tenant: int, kept: room.Room, column: str, *, before: int | None, after: int, what: str
) -> None:
    """Raise `QuotaExceeded` if the namespace has no room for it. The table has the name of what is kept."""

    def number(query: str) -> int:
        return int(db.execute(query.format(kept.kind, column), (tenant,)).fetchone()[0])

    kept.check(
        _annotations(db, tenant),
        before=before,
        after=after,
        count=lambda: number(_COUNT),
        size=lambda: number(_SIZE),
        what=what,
    )
