"""One writer, whole units of work, and files that survive."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.kit.sqlite import Damaged, Database, open_whole

pytestmark = pytest.mark.anyio

MIGRATIONS = ["CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    found = Database(path, MIGRATIONS)
    yield found
    found.close()


def put(name: str, value: int) -> object:
    return lambda connection: connection.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value)).rowcount


def value_of(name: str) -> object:
    def work(connection: sqlite3.Connection) -> int | None:
        row = connection.execute("SELECT value FROM counts WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    return work


async def test_what_was_written_is_read_and_outlives_the_process(path: Path, database: Database) -> None:
    assert await database.write(put("a", 1)) == 1
    assert await database.read(value_of("a")) == 1
    database.close()
    again = Database(path, MIGRATIONS)
    assert await again.read(value_of("a")) == 1
    again.close()


def test_the_file_is_private(path: Path, database: Database) -> None:
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_unit_of_work_leaves_all_or_nothing(database: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO counts VALUES ('a', 1)")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        await database.write(work)
    assert await database.read(value_of("a")) is None
    assert await database.write(put("a", 2)) == 1


async def test_units_of_work_never_interleave(database: Database) -> None:
    def increment(connection: sqlite3.Connection) -> None:
        (value,) = connection.execute("SELECT value FROM counts WHERE name = 'a'").fetchone()
        connection.execute("UPDATE counts SET value = ? WHERE name = 'a'", (value + 1,))

    await database.write(put("a", 0))
    await asyncio.gather(*(database.write(increment) for _ in range(50)))
    assert await database.read(value_of("a")) == 50


async def test_errors_of_sqlite_reach_the_caller(database: Database) -> None:
    await database.write(lambda connection: connection.execute("INSERT INTO counts VALUES ('a', 1)").rowcount)
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda connection: connection.execute("INSERT INTO counts VALUES ('a', 1)").rowcount)


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await database.read(put("a", 1))
    assert await database.read(value_of("a")) is None


async def test_a_reader_sees_one_moment(database: Database) -> None:
    await database.write(put("a", 1))
    between, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(connection: sqlite3.Connection) -> tuple[object, object]:
        first = value_of("a")(connection)
        loop.call_soon_threadsafe(between.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
        return first, value_of("a")(connection)

    reading = asyncio.ensure_future(database.read(work))
    await between.wait()
    await database.write(put("a", 2))
    go_on.set()
    assert await reading == (1, 1)
    assert await database.read(value_of("a")) == 2


async def test_a_cancelled_caller_does_not_undo_work_that_began(database: Database) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(connection: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
        connection.execute("INSERT INTO counts VALUES ('a', 1)")

    writing = asyncio.ensure_future(database.write(work))
    await began.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()
    assert await database.write(value_of("a")) == 1


async def test_closing_finishes_what_was_given(path: Path) -> None:
    database = Database(path, MIGRATIONS)
    writes = [asyncio.ensure_future(database.write(put(f"n{number}", number))) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    assert await asyncio.gather(*writes) == [1] * 20
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        await database.write(put("late", 1))
    with pytest.raises(RuntimeError, match="closed"):
        await database.read(value_of("a"))


async def test_migrations_run_once_in_order(path: Path) -> None:
    Database(path, MIGRATIONS).close()
    more = [*MIGRATIONS, "INSERT INTO counts VALUES ('a', 1)", "UPDATE counts SET value = value * 10"]
    for _ in range(3):
        database = Database(path, more)
        assert await database.read(value_of("a")) == 10
        database.close()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    Database(path, MIGRATIONS).close()
    broken = [*MIGRATIONS, "INSERT INTO counts VALUES ('a', 1); INSERT INTO nowhere VALUES (1)"]
    with pytest.raises(sqlite3.Error):
        Database(path, broken)
    database = Database(path, MIGRATIONS)
    assert await database.read(value_of("a")) is None
    database.close()


def test_a_file_from_a_newer_version_is_refused(path: Path) -> None:
    Database(path, [*MIGRATIONS, "CREATE TABLE more (x)"]).close()
    with pytest.raises(RuntimeError, match="newer version"):
        Database(path, MIGRATIONS)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Database(tmp_path / "nowhere" / "test.db", MIGRATIONS)


@pytest.mark.parametrize("content", [b"", b"S", b"SQLite format 3\0" + b"x" * 40, None])
def test_what_is_no_whole_database_is_never_taken_for_a_new_one(tmp_path: Path, content: bytes | None) -> None:
    """An empty file, the beginning of one, a folder; none of them is changed."""
    path = tmp_path / "a.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(Damaged, match="it is"):
        open_whole(path, ("CREATE TABLE a (b)",))
    assert path.is_dir() if content is None else path.read_bytes() == content


def test_a_file_that_is_not_there_is_made_whole(tmp_path: Path) -> None:
    """Also after a crash in the middle of it."""
    path = tmp_path / "a.db"
    (tmp_path / ".new-a.db").write_bytes(b"half")
    for _ in range(2):
        open_whole(path, ("CREATE TABLE a (b)",)).close()
        assert path.stat().st_size > 100
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith(".new")] == []
