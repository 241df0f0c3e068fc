"""One replica's log: reading what may have been forged, while its files change places."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.runtimes.logs.reader import LINE_MOST, LogReader, last_lines


def stamp(second: int, nanos: int = 0) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + second)) + f".{nanos:09}Z"


def read(path: Path, *, final: bool = True) -> list[tuple[int, str]]:
    reader = reader_of(path)
    try:
        return [line[:2] for line in reader.lines(final=final)]
    finally:
        reader.close()


def reader_of(path: Path) -> LogReader:
    return LogReader(path.parent, path.stem)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def test_lines_have_their_stamps_to_the_nanosecond(path: Path) -> None:
    path.write_text(f"{stamp(1, 5)} one\n{stamp(2)} two  \n2023-11-14T22:13:23Z three\n")
    base = 1_700_000_000 * 10**9
    assert read(path) == [(base + 10**9 + 5, "one"), (base + 2 * 10**9, "two  "), (base + 3 * 10**9, "three")]


def test_a_line_without_a_stamp_takes_the_time_of_the_one_before(path: Path) -> None:
    path.write_text(f"no stamp\n{stamp(1)} one\nbwrap: no such file\n2023-99-99T99:99:99Z nonsense\n")
    times = [timestamp for timestamp, _ in read(path)]
    assert times == [times[1]] * 4
    assert times[0] == 1_700_000_001 * 10**9, "the first: of the one behind it"


def test_a_log_without_any_stamp_has_the_time_of_its_file(path: Path) -> None:
    """As of a replica that was killed before its watchdog began."""
    path.write_text("Killed\n")
    os.utime(path, ns=(5, 1_700_000_000 * 10**9))
    assert read(path) == [(1_700_000_000 * 10**9, "Killed")]


def test_stamps_neither_go_back_nor_lie_in_the_future(path: Path) -> None:
    path.write_text(f"{stamp(5)} one\n{stamp(1)} forged\n2999-01-01T00:00:00Z forged\n{stamp(6)} late\n")
    times = [timestamp for timestamp, _ in read(path)]
    assert times == sorted(times)
    assert times[-1] <= time.time_ns()


@pytest.mark.bound("log-line")
def test_a_line_without_an_end_comes_in_pieces(path: Path) -> None:
    path.write_text(f"{stamp(1)} {'x' * (3 * LINE_MOST)}")
    texts = [text for _, text in read(path)]
    assert sum(map(len, texts)) == 3 * LINE_MOST
    assert max(map(len, texts)) <= LINE_MOST


def test_bytes_that_are_no_text_are_replaced(path: Path) -> None:
    path.write_bytes(f"{stamp(1)} ".encode() + b"\xff\0\x1b[31m\r\n")
    assert read(path)[0][1] == "\ufffd\0\x1b[31m"


def test_a_reader_comes_back_for_what_was_written_since(path: Path) -> None:
    path.write_text(f"{stamp(1)} one\n{stamp(2)} tw")
    file = reader_of(path)
    assert [text for _, text, _ in file.lines(final=False)] == ["one"]
    with path.open("a") as writer:
        writer.write(f"o\n{stamp(3)} three\n")
    assert [text for _, text, _ in file.lines(final=False)] == ["two", "three"]
    file.close()


def test_the_tail_is_never_short(path: Path) -> None:
    path.write_text("".join(f"{stamp(n)} {'x' * 50} {n}\n" for n in range(5000)))
    for wanted in (1, 10, 4999, 9000):
        file = reader_of(path)
        file.seek_tail(wanted)
        texts = [text for _, text, _ in file.lines(final=True)]
        assert len(texts) >= min(wanted, 5000)
        assert texts[-1].endswith(" 4999")
        file.close()


def test_the_last_lines_are_found_and_short(path: Path) -> None:
    path.write_text(f"{stamp(1)} one\n{stamp(2)} {'y' * 500}\n{stamp(3)} three\n")
    assert last_lines(path.parent, "a", 2) == ["y" * 197 + "...", "three"]
    assert last_lines(path.parent, "missing", 2) == []


def test_the_file_before_comes_first_and_the_tail_reaches_into_it(path: Path) -> None:
    path.with_suffix(".log.1").write_text("".join(f"{stamp(n)} line {n}\n" for n in range(5)))
    path.write_text("".join(f"{stamp(n)} line {n}\n" for n in range(5, 8)))
    assert [text for _, text in read(path)] == [f"line {n}" for n in range(8)]
    for wanted in range(1, 9):
        reader = reader_of(path)
        reader.seek_tail(wanted)
        texts = [text for _, text, _ in reader.lines(final=True)]
        reader.close()
        assert texts == [f"line {n}" for n in range(8)][-len(texts) :]
        assert len(texts) >= min(wanted, 8)


def test_a_reader_follows_its_lines_through_changes_of_files(path: Path) -> None:
    """The file that was written becomes the one before, and both get other names once the replica is gone."""
    path.write_text(f"{stamp(1)} one\n")
    reader = reader_of(path)
    assert [text for _, text, _ in reader.lines(final=False)] == ["one"]
    with path.open("a") as file:
        file.write(f"{stamp(2)} two\n{stamp(3)} thr")
    path.rename(path.with_suffix(".log.1"))
    path.write_text(f"ee\n{stamp(4)} four\n")
    assert [text for _, text, _ in reader.lines(final=False)] == ["two", "three", "four"]
    path.with_suffix(".log.1").rename(path.with_suffix(".old.1"))
    path.rename(path.with_suffix(".old"))
    with path.with_suffix(".old").open("a") as file:
        file.write(f"{stamp(5)} five\n")
    assert [text for _, text, _ in reader.lines(final=False)] == ["five"]
    reader.close()


def test_a_reader_that_was_overtaken_goes_on_with_what_is_left(path: Path) -> None:
    path.write_text(f"{stamp(1)} one\nunfinished")
    reader = reader_of(path)
    assert [text for _, text, _ in reader.lines(final=False)] == ["one"]
    path.unlink()
    path.with_suffix(".log.1").write_text(f"{stamp(8)} eight\n")
    path.write_text(f"{stamp(9)} nine\n")
    assert [text for _, text, _ in reader.lines(final=False)] == ["eight", "nine"]
    reader.close()


def test_a_link_is_not_followed(path: Path) -> None:
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        read(path)


@given(st.binary(max_size=4000))
def test_whatever_a_function_writes_can_be_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.log"
    path.write_bytes(content)
    lines = read(path)
    times = [timestamp for timestamp, _ in lines]
    assert times == sorted(times)
    assert len(lines) == len(content.split(b"\n")) - (not content.split(b"\n")[-1])
    assert all("\n" not in text for _, text in lines)


def test_the_stamp_says_the_call(path: Path) -> None:
    """Nothing but the stamp: text that looks like it is text."""
    path.write_text(
        f"{stamp(1)[:-1]}Z/a-1 one\n{stamp(2)} {stamp(3)[:-1]}Z/b two\n{stamp(4)[:-1]}Z/bad/id three\nfour\n"
    )
    reader = LogReader(path.parent, "a")
    try:
        found = [(line.call_id, line.text) for line in reader.lines(final=True)]
    finally:
        reader.close()
    assert found == [
        ("a-1", "one"),
        ("", f"{stamp(3)[:-1]}Z/b two"),
        ("", f"{stamp(4)[:-1]}Z/bad/id three"),
        ("", "four"),
    ]
