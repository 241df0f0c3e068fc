"""One replica's log file: reading what may have been forged, and cutting it under a writer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.runtimes.logs import file as module
from hilbert.runtimes.logs.file import LINE_MOST, LogFile, cut_front, last_line


def stamp(second: int, nanos: int = 0) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + second)) + f".{nanos:09}Z"


def read(path: Path, *, final: bool = True) -> list[tuple[int, str]]:
    file = LogFile(path)
    try:
        return list(file.lines(final=final))
    finally:
        file.close()


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
    assert times == [0, *[times[1]] * 3]


def test_stamps_neither_go_back_nor_lie_in_the_future(path: Path) -> None:
    path.write_text(f"{stamp(5)} one\n{stamp(1)} forged\n2999-01-01T00:00:00Z forged\n{stamp(6)} late\n")
    times = [timestamp for timestamp, _ in read(path)]
    assert times == sorted(times)
    assert times[-1] <= time.time_ns()


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
    file = LogFile(path)
    assert [text for _, text in file.lines(final=False)] == ["one"]
    with path.open("a") as writer:
        writer.write(f"o\n{stamp(3)} three\n")
    assert [text for _, text in file.lines(final=False)] == ["two", "three"]
    file.close()


def test_the_tail_is_never_short(path: Path) -> None:
    path.write_text("".join(f"{stamp(n)} {'x' * 50} {n}\n" for n in range(5000)))
    for wanted in (1, 10, 4999, 9000):
        file = LogFile(path)
        file.seek_tail(wanted)
        texts = [text for _, text in file.lines(final=True)]
        assert len(texts) >= min(wanted, 5000)
        assert texts[-1].endswith(" 4999")
        file.close()


def test_the_last_line_is_found_and_short(path: Path) -> None:
    path.write_text(f"{stamp(1)} one\n{stamp(2)} {'y' * 500}\n\n")
    assert last_line(path) == "y" * 197 + "..."
    assert last_line(path.with_name("missing")) == ""


@pytest.mark.parametrize("punching", [True, False])
def test_cutting_keeps_the_newest_half_and_does_not_disturb_the_writer(
    path: Path, monkeypatch: pytest.MonkeyPatch, punching: bool
) -> None:
    if not punching:
        monkeypatch.setattr(module, "_punch", lambda descriptor, length: False)
    writer = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        for number in range(4000):
            os.write(writer, f"{stamp(number)} line {number}\n".encode())
        cut_front(path, 100_000)
        assert path.stat().st_blocks * 512 <= 100_000 // 2 + 8192
        os.write(writer, f"{stamp(4000)} line 4000\n".encode())
        numbers = [int(text.split()[1]) for _, text in read(path)]
        assert numbers == list(range(numbers[0], 4001))
        assert 900 < len(numbers) < 2000
        cut_front(path, 100_000)
        assert [int(text.split()[1]) for _, text in read(path)] == numbers, "it is within its bounds"
    finally:
        os.close(writer)


def test_a_reader_survives_a_cut(path: Path) -> None:
    path.write_text("".join(f"{stamp(n)} line {n}\n" for n in range(4000)))
    file = LogFile(path)
    lines = file.lines(final=False)
    assert next(lines)[1] == "line 0"
    cut_front(path, 100_000)
    texts = [text for _, text in lines]
    assert texts[-1] == "line 3999"
    assert all("\0" not in text for text in texts[1:])
    file.close()


def test_a_link_is_not_followed(path: Path) -> None:
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        LogFile(path)
    cut_front(path, 1)


@given(st.binary(max_size=4000))
def test_whatever_a_function_writes_can_be_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.log"
    path.write_bytes(content)
    lines = read(path)
    times = [timestamp for timestamp, _ in lines]
    assert times == sorted(times)
    assert len(lines) == len(content.split(b"\n")) - (not content.split(b"\n")[-1])
    assert all("\n" not in text for _, text in lines)
