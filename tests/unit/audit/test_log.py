"""The audit log's files: whole after crashes, tampering is seen, old records go, tenants see their own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.audit import log as module
from hilbert.audit.chain import Chain
from hilbert.audit.log import AuditLog
from hilbert.audit.ports import Page, Wanted
from hilbert.audit.record import Actor, Decision, Record, Stage, clean, encode, moment, names, new_id
from hilbert.audit.segments import parse, segments
from hilbert.audit.verify import verify
from hilbert.core.errors import StorageFull
from hilbert.testing.harness import eventually

pytestmark = pytest.mark.anyio


def record(number: int = 0, **fields: object) -> Record:
    usual: dict[str, object] = {
        "id": new_id(),
        "time": moment(1_700_000_000 + number),
        "actor": Actor(sub="admin"),
        "actions": ("Function:Create",),
        "namespace": "dev",
        "resource": "dev:f",
        "decision": Decision.ALLOWED,
        "response_code": 202,
    }
    return Record(**(usual | fields))  # type: ignore[arg-type]  # what tests choose


@asynccontextmanager
async def opened(folder: Path, **given: object) -> AsyncIterator[AuditLog]:
    log = AuditLog(folder, **({"max_bytes": 1 << 30, "max_age": 1e9} | given))  # type: ignore[arg-type]
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def all_of(log: AuditLog) -> list[Record]:
    return [one for _, one in (await log.read(Wanted(limit=1000))).lines]


async def crash(log: AuditLog) -> None:
    """End it as a kill does: no last checkpoint."""
    assert log._lane is not None
    assert log._tidier is not None
    log._lane.close()
    log._tidier.cancel()
    os.close(log._file)


def last_file(folder: Path) -> Path:
    return segments(folder)[-1].path


async def test_what_is_appended_is_on_the_disk_and_verifies(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    async with opened(folder) as log:
        await asyncio.gather(*(log.append(record(n)) for n in range(50)))
        found = verify(folder)
        assert (found.records, found.unsigned, found.problems) == (50, 50, ())
        assert [one.time for one in await all_of(log)] == [moment(1_700_000_000 + n) for n in range(50)]
    found = verify(folder)
    assert (found.records, found.unsigned, found.problems) == (50, 0, ())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    async with opened(folder) as log:
        await log.append(record(99))
    found = verify(folder, noted=(found.last, found.head))
    assert (found.records, found.problems) == (51, ())


@pytest.mark.parametrize("torn", [b"{", b'{"seq":4,"prev":"', b"\0" * 4096, "é".encode()[:1]])
async def test_a_torn_last_line_is_cut_off_and_told(tmp_path: Path, torn: bytes) -> None:
    log = AuditLog(tmp_path, max_bytes=1 << 30, max_age=1e9)
    await log.start()
    await log.append(record(1))
    await crash(log)
    with last_file(tmp_path).open("ab") as file:
        file.write(torn)
    assert verify(tmp_path).torn == len(torn)
    async with opened(tmp_path) as log:
        await log.append(record(2))
        assert len(await all_of(log)) == 2
    found = verify(tmp_path)
    assert (found.problems, found.torn) == ((), 0)
    assert f"an incomplete last line of {len(torn)} bytes".encode() in last_file(tmp_path).read_bytes()


async def test_records_that_come_while_one_is_written_are_the_next_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told when its own group is on the disk; whoever gives up waiting has the record all the same."""
    synced: list[int] = []
    goes_on = threading.Event()

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        goes_on.wait()

    async with opened(tmp_path) as log:
        monkeypatch.setattr(os, "fdatasync", sync)
        first = asyncio.ensure_future(log.append(record(0)))
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(log.append(record(number))) for number in range(1, 30)]
        await asyncio.sleep(0)
        rest[3].cancel()
        goes_on.set()
        await asyncio.gather(first, *rest, return_exceptions=True)
        assert len(synced) == 2
        assert len(await all_of(log)) == 30


async def test_a_checkpoint_follows_without_further_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after the first record of all, and again after the next."""
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.05)
    async with opened(tmp_path, now=lambda: 0.0) as log:
        for _ in range(2):
            await log.append(record(1))
            await eventually(lambda: verify(tmp_path).unsigned == 0, within=20)


async def test_a_crash_at_every_byte_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path / "whole") as log:
        for number in range(3):
            await log.append(record(number))
    whole = last_file(tmp_path / "whole").read_bytes()
    key = (tmp_path / "whole" / "key").read_bytes()
    ends = list(range(0, len(whole), 97))
    for end in ends:
        folder = tmp_path / f"cut-{end}"
        folder.mkdir()
        (folder / "key").write_bytes(key)
        (folder / f"{1:020d}.jsonl").write_bytes(whole[:end])
        async with opened(folder) as log:
            await log.append(record(7))
            kept = await all_of(log)
        assert (
            len(kept)
            == max(
                0,
                whole[:end].count(b'"record":')
                - (not whole[:end].endswith(b"\n") and b'"record":' in whole[:end].rpartition(b"\n")[2]),
            )
            + 1
        )
        assert verify(folder).is_good, (end, verify(folder))


async def test_a_change_without_an_end_gets_one_at_the_next_start(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_bytes=1 << 30, max_age=1e9)
    await log.start()
    begun = record(stage=Stage.BEGUN, response_code=0)
    finished = record(stage=Stage.BEGUN, response_code=0)
    for one in (begun, finished, msgspec.structs.replace(finished, stage=Stage.DONE)):
        await log.append(one)
    await crash(log)
    for _ in range(2):  # Once only.
        async with opened(tmp_path) as log:
            unknown = [one for one in await all_of(log) if one.error == "unknown"]
            assert [one.id for one in unknown] == [begun.id]
            assert unknown[0].stage is Stage.DONE


async def written(folder: Path, count: int = 12) -> list[bytes]:
    async with opened(folder) as log:
        for number in range(count):
            await log.append(record(number))
    return last_file(folder).read_bytes().splitlines(keepends=True)


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "changed": lambda lines: [*lines[:5], lines[5].replace(b"admin", b"nobod"), *lines[6:]],
    "left out": lambda lines: [*lines[:5], *lines[6:]],
    "doubled": lambda lines: [*lines[:5], lines[5], *lines[5:]],
    "swapped": lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]],
    "no line": lambda lines: [*lines[:5], b"nonsense\n", *lines[6:]],
    "begun later": lambda lines: lines[3:],
    "all gone": lambda _lines: [],
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_tampering_is_seen(tmp_path: Path, how: str) -> None:
    lines = await written(tmp_path)
    last_file(tmp_path).write_bytes(b"".join(TAMPERED[how](lines)))
    assert verify(tmp_path).problems


async def test_a_chain_written_anew_without_the_key_is_seen(tmp_path: Path) -> None:
    lines = await written(tmp_path)
    forged, out = Chain(b"x" * 32), []
    for line in map(parse, lines):
        assert line is not None
        if line.checkpoint is not None:
            out.append(forged.add_checkpoint(line.checkpoint))
        elif line.record is not None:
            out.append(forged.add(msgspec.structs.replace(line.record, actor=Actor(sub="somebody"))))
    last_file(tmp_path).write_bytes(b"".join(out))
    assert any("another key" in text for text in verify(tmp_path).problems)


async def test_an_end_that_was_cut_off_is_seen_by_who_noted_it(tmp_path: Path) -> None:
    lines = await written(tmp_path)
    noted = verify(tmp_path)
    last_file(tmp_path).write_bytes(b"".join(lines[:-4]))
    assert verify(tmp_path, noted=(noted.last, noted.head)).problems


@pytest.mark.bound("audit-size")
async def test_old_files_go_by_size_and_age_and_nothing_else_may_be_missing(tmp_path: Path) -> None:
    async with opened(tmp_path, full=4096, max_bytes=16384) as log:
        for number in range(200):
            await log.append(record(number))
        assert log.kept_from > 1
    assert sum(one.path.stat().st_size for one in segments(tmp_path)) < 16384 + 2 * 4096
    assert verify(tmp_path).is_good
    for one in segments(tmp_path)[:-1]:
        os.utime(one.path, (0, 0))
    async with opened(tmp_path, full=4096, max_age=3600.0):
        assert len(segments(tmp_path)) == 1
    assert verify(tmp_path).is_good


async def test_a_file_taken_out_at_the_front_or_in_the_middle_is_seen(tmp_path: Path) -> None:
    async with opened(tmp_path, full=4096) as log:
        for number in range(60):
            await log.append(record(number))
    files = segments(tmp_path)
    assert len(files) >= 4
    for one in (files[0], files[2]):
        kept = one.path.read_bytes()
        one.path.unlink()
        assert verify(tmp_path).problems
        one.path.write_bytes(kept)
        assert verify(tmp_path).is_good


@pytest.mark.bound("audit-read")
async def test_one_request_looks_through_so_much_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilbert.audit.reading.MOST_BYTES", 8192)
    async with opened(tmp_path, full=4096) as log:
        for number in range(60):
            await log.append(record(number))
        page = await log.read(Wanted(limit=1000))
        assert 0 < len(page.lines) < 60
        assert not page.complete
        assert not (await log.read(Wanted(limit=1000, after=1))).complete


async def test_following_passes_nothing_over(tmp_path: Path) -> None:
    async with opened(tmp_path, full=4096) as log:
        for number in range(60):
            await log.append(record(number))
        seen, after = [], 1
        while after < log.seq:
            page = await log.read(Wanted(limit=7, after=after))
            seen += [one.time for _, one in page.lines]
            after = page.next
        assert seen == [moment(1_700_000_000 + n) for n in range(60)]
        newest: Page = await log.read(Wanted(limit=5))
        assert [one.time for _, one in newest.lines] == seen[-5:]
        assert not newest.complete
        earlier = await log.read(Wanted(limit=5, before=newest.lines[0][0]))
        assert [one.time for _, one in earlier.lines] == seen[-10:-5]


async def test_an_owner_sees_its_own_part_and_nothing_of_its_predecessor(tmp_path: Path) -> None:
    deleted = {"actions": ("Namespace:Delete",), "resource": "dev:*"}
    async with opened(tmp_path) as log:
        await log.append(record(1))
        await log.append(record(2, namespace="other", resource="other:f"))
        await log.append(record(3, resource="dev:* other:*"))
        await log.append(record(4, **deleted, response_code=409))
    for _ in range(2):  # Also after a restart.
        async with opened(tmp_path) as log:
            mine = await log.read(Wanted(limit=100, sees=lambda name: name == "dev", sees_all=False))
            assert [one.time[-11:-8] for _, one in mine.lines] == [moment(1_700_000_000 + n)[-11:-8] for n in (1, 4)]
    async with opened(tmp_path) as log:
        await log.append(record(5, **deleted))
    for _ in range(2):
        async with opened(tmp_path) as log:
            mine = await log.read(Wanted(limit=100, sees=lambda name: name == "dev", sees_all=False))
            assert mine.lines == []
            assert len(await all_of(log)) == 5


async def test_a_full_disk_fails_the_record_and_leaves_the_chain_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    async with opened(tmp_path) as log:
        await log.append(record(1))

        def half(descriptor: int, data: memoryview) -> int:
            if len(data) < 20:
                raise OSError(28, "No space left on device")
            return real(descriptor, data[: len(data) // 2])

        with monkeypatch.context() as patched:
            patched.setattr("hilbert.audit.log.os.write", half)
            with pytest.raises(StorageFull):
                await log.append(record(2))
        await log.append(record(3))
        assert len(await all_of(log)) == 2
    assert verify(tmp_path).is_good


@given(st.text())
def test_no_text_can_end_a_line_or_be_unreadable(text: str) -> None:
    line = Chain(b"k" * 32).add(record(custom_message=clean(text), change=names([text, text]), user_agent=clean(text)))
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert all(byte >= 0x20 for byte in line[:-1])
    found = parse(line[:-1])
    assert found is not None
    assert found.record is not None
    assert found.record.custom_message == clean(text)


def test_identifiers_sort_by_time_and_are_of_version_seven() -> None:
    first, second = new_id(1.0), new_id(2.0)
    assert first < second
    assert (first[14], first[19] in "89ab") == ("7", True)
    assert moment(1.5) == "1970-01-01T00:00:01.500000Z"
    assert b"\n" not in encode({"a": "\n"})
