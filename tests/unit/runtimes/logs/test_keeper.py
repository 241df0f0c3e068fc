"""The log keeper by itself: bounds, turns, requests, and what it does when the disk does not."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilbert.runtimes.logs import byte_rate
from hilbert.runtimes.logs import keeper as module
from hilbert.runtimes.logs.keeper import Keeper
from hilbert.runtimes.logs.protocol import (
    USES_MOST,
    Drop,
    Flush,
    Keep,
    Request,
    Retire,
    Slow,
    Use,
    Uses,
    decode_uses,
    encode,
)
from support.dataplane import until

LIMIT = 40_000


class Bench:
    """A keeper in a thread, and one connection to it."""

    def __init__(self, folder: Path, *, descriptors: int = 4096) -> None:
        self.logs = folder / "logs"
        self.pipes = folder / "pipes"
        (self.logs / "dev" / "f").mkdir(parents=True)
        self.pipes.mkdir()
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(20)
        self.keeper = Keeper(self.logs, self.pipes, limit=LIMIT, descriptors=descriptors)
        self.keeper.join(theirs)
        self.thread = threading.Thread(target=self.keeper.run)
        self.thread.start()
        self.number = 0
        self.writers: dict[str, int] = {}

    def close(self) -> None:
        self.keeper.stop()
        self.thread.join()
        self.keeper.close()
        self.ours.close()
        for writer in self.writers.values():
            os.close(writer)

    def ask(self, request: Request) -> None:
        self.ours.sendall(encode(request))
        assert self.ours.recv(64) == b"%d\n" % request.number

    def begin(self, replica: str) -> int:
        os.mkfifo(self.pipes / replica)
        self.writers[replica] = os.open(self.pipes / replica, os.O_RDWR)
        self.ask(Keep(1, "dev", "f", replica))
        return self.writers[replica]

    def flush(self, replica: str) -> None:
        self.ask(Flush(2, replica))

    def content(self, replica: str, suffix: str = ".log") -> bytes:
        found = b""
        for end in (".1", ""):
            with contextlib.suppress(FileNotFoundError):
                found += (self.logs / "dev" / "f" / f"{replica}{suffix}{end}").read_bytes()
        return found

    def taken(self) -> int:
        """Bytes of all logs; a file may get another name while it is looked at."""
        found = 0
        for path in self.logs.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                found += path.stat().st_size if path.is_file() else 0
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_what_is_written_is_copied_byte_for_byte(bench: Bench) -> None:
    pipe = bench.begin("f-a")
    os.write(pipe, b"one\n\0\xfftwo\n")
    bench.flush("f-a")
    assert bench.content("f-a") == b"one\n\0\xfftwo\n"


@pytest.mark.bound("log-bytes")
def test_the_bound_holds_at_every_moment_and_the_newest_is_kept(bench: Bench) -> None:
    pipe = bench.begin("f-a")
    for number in range(2000):
        os.write(pipe, b"%06d %s\n" % (number, b"x" * 193))
        if number % 50 == 0:
            assert bench.taken() <= LIMIT
    bench.flush("f-a")
    assert LIMIT // 2 - 1000 < bench.taken() <= LIMIT
    lines = bench.content("f-a").splitlines()
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == list(range(numbers[0], 2000)), "in order, whole lines"


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=9000), max_size=12))
def test_whatever_comes_in_whatever_pieces(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    """Also lines without an end: the end of all that was written is there, within the bound."""
    bench = Bench(tmp_path_factory.mktemp("keeper"))
    try:
        pipe = bench.begin("f-a")
        for piece in pieces:
            os.write(pipe, piece)
            bench.flush("f-a")
            assert bench.taken() <= LIMIT
        content = bench.content("f-a")
        assert b"".join(pieces).endswith(content)
        assert len(content) >= min(LIMIT // 4, sum(map(len, pieces)))
    finally:
        bench.close()


def test_one_that_writes_without_end_waits_for_its_pipe_and_holds_up_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are paid for from one allowance; the others' few bytes are copied all the same."""
    monkeypatch.setattr(module, "_RATE", 1)
    loud, quiet = bench.begin("f-loud"), bench.begin("f-quiet")
    os.set_blocking(loud, False)
    written = 0
    with contextlib.suppress(BlockingIOError):
        while written < 4 * module._BURST:
            written += os.write(loud, b"x" * 4095 + b"\n")
    assert written < 2 * module._BURST, "it was held back"
    os.write(quiet, b"here\n")
    bench.flush("f-quiet")
    assert bench.content("f-quiet") == b"here\n"
    assert bench.taken() <= 2 * LIMIT


def test_a_retired_log_is_kept_under_its_old_name_and_its_pipe_is_gone(bench: Bench) -> None:
    pipe = bench.begin("f-a")
    os.write(pipe, b"x" * LIMIT)
    bench.ask(Retire(3, "dev", "f", "f-a"))
    assert sorted(os.listdir(bench.logs / "dev" / "f")) == ["f-a.old", "f-a.old.1"]
    assert os.listdir(bench.pipes) == []
    bench.ask(Retire(3, "dev", "f", "f-a"))
    bench.ask(Retire(3, "dev", "f", "unknown"))


def test_what_was_dropped_gets_no_more_lines_nor_does_a_namesake(bench: Bench) -> None:
    pipe = bench.begin("f-a")
    os.write(pipe, b"before\n")
    bench.flush("f-a")
    folder = bench.logs / "dev" / "f"
    folder.rename(bench.logs / "trash")
    folder.mkdir()
    bench.ask(Drop(4, "dev", ""))
    os.write(pipe, b"x" * LIMIT)
    bench.flush("f-a")
    bench.ask(Retire(3, "dev", "f", "f-a"))
    assert os.listdir(folder) == []
    assert (bench.logs / "trash" / "f-a.log").read_bytes() == b"before\n"


@pytest.mark.bound("log-files")
def test_a_replica_writes_on_when_open_files_are_short(tmp_path: Path) -> None:
    """Its lines are lost, and it never waits for its pipe."""
    bench = Bench(tmp_path, descriptors=1)
    try:
        pipe = bench.begin("f-a")
        for _ in range(64):
            os.write(pipe, b"x" * 65536)
        bench.flush("f-a")
        assert bench.taken() == 0
    finally:
        bench.close()


def test_what_is_no_pipe_is_not_opened(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (bench.pipes / "f-a").symlink_to(tmp_path / "secret")
    (bench.pipes / "f-b").write_text("a file")
    for replica in ("f-a", "f-b", "f-missing"):
        bench.ask(Keep(1, "dev", "f", replica))
        bench.flush(replica)
    assert bench.taken() == 0


def test_nonsense_is_passed_over_and_lines_without_end_close_the_connection(bench: Bench) -> None:
    bench.ours.sendall(b'nonsense\n{"type": "keep"}\n\n')
    bench.flush("unknown")
    bench.ours.sendall(b"x" * 200_000)
    with contextlib.suppress(ConnectionResetError):
        assert bench.ours.recv(1) == b""


def test_a_disk_that_fails_costs_lines_and_nothing_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = bench.begin("f-a")
    folder = bench.logs / "dev" / "f"
    (folder / "f-a.log").mkdir()  # Nothing can be written there, for root either.
    os.write(pipe, b"lost\n")
    bench.flush("f-a")
    (folder / "f-a.log").rmdir()
    os.write(pipe, b"kept\n")
    bench.flush("f-a")
    assert bench.content("f-a") == b"kept\n"


def test_a_keeper_that_comes_later_goes_on(tmp_path: Path) -> None:
    """The pipe is the replica's, so nothing is lost with a keeper, and the writer never sees an error."""
    bench = Bench(tmp_path)
    pipe = bench.begin("f-a")
    os.write(pipe, b"one\n")
    bench.keeper.stop()
    bench.thread.join()
    bench.keeper.close()
    os.write(pipe, b"two\n")
    bench.ours.close()
    bench.ours, theirs = socket.socketpair()
    bench.keeper = Keeper(bench.logs, bench.pipes, limit=LIMIT)
    bench.keeper.join(theirs)
    bench.thread = threading.Thread(target=bench.keeper.run)
    bench.thread.start()
    bench.ask(Keep(1, "dev", "f", "f-a"))
    bench.flush("f-a")
    assert bench.content("f-a") == b"one\ntwo\n"
    bench.close()


@pytest.mark.bound("log-rate")
def test_a_namespace_that_writes_too_fast_waits_and_others_do_not(bench: Bench) -> None:
    """What it has written by then is there; the rest comes at its pace, and at once when the bound goes."""
    slow = bench.begin("slow")
    bench.ask(Slow(3, "dev", "", 2048))
    line = b"2024-05-06T07:08:09Z " + b"x" * 1003
    for _ in range(12):
        os.write(slow, line)
    (bench.logs / "other" / "g").mkdir(parents=True)
    os.mkfifo(bench.pipes / "quick")
    bench.writers["quick"] = os.open(bench.pipes / "quick", os.O_RDWR)
    bench.ask(Keep(4, "other", "g", "quick"))
    os.write(bench.writers["quick"], b"a line\n" * 100)
    until(lambda: bench.keeper._paused.keys() == {"slow"}, what="the pause")
    other = bench.logs / "other" / "g" / "quick.log"
    until(lambda: other.exists() and other.stat().st_size == 700, what="the other's lines")
    for _ in range(60):
        os.write(slow, line)
    assert len(bench.content("slow")) < 72 * 1024
    bench.ask(Slow(5, "dev", "", 0))
    until(lambda: not bench.keeper._paused, what="the end of the pause")


def test_lines_that_come_one_by_one_are_copied_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first, pipes are left alone for a moment; whoever asks for all has all at once."""
    monkeypatch.setattr(module, "_GATHERED", 30.0)
    copies: list[int] = []
    copy = bench.keeper._copy

    def counted(output: module._Output) -> int:
        copies.append(copy(output))
        return copies[-1]

    monkeypatch.setattr(bench.keeper, "_copy", counted)
    pipe = bench.begin("r")
    os.write(pipe, b"line 0\n")
    until(lambda: bench.content("r") == b"line 0\n", what="the first line")
    for number in range(1, 50):
        os.write(pipe, b"line %d\n" % number)
    bench.flush("r")
    assert bench.content("r") == b"".join(b"line %d\n" % number for number in range(50))
    assert len([count for count in copies if count]) < 25


def test_a_paused_replica_can_end(bench: Bench) -> None:
    os.write(bench.begin("a"), b"x" * 9000 + b"\n")
    bench.ask(Slow(3, "dev", "f", 1024))
    os.write(bench.writers["a"], b"y" * 9000 + b"\n")
    until(lambda: "a" in bench.keeper._paused, what="the pause")
    os.close(bench.writers.pop("a"))
    bench.ask(Retire(4, "dev", "f", "a"))
    assert not bench.keeper._paused
    assert bench.content("a", ".old").endswith(b"y\n")


def used(bench: Bench, namespace: str = "", function: str = "") -> list[Use]:
    bench.ours.sendall(encode(Uses(6, namespace, function)))
    answer = b""
    while not answer.endswith(b"\n"):
        answer += bench.ours.recv(1 << 20)
    number, _, said = answer.partition(b" ")
    assert number == b"6"
    return list(decode_uses(said))


def test_how_a_bound_is_used_is_told(bench: Bench) -> None:
    """Of its function and of its namespace; what has no bound, or writes nothing, is not among them."""
    for function, rate in (("", 1 << 20), ("f", 4096), ("silent", 4096)):
        bench.ask(Slow(3, "dev", function, rate))
    os.write(bench.begin("f-a"), b"x" * 4999 + b"\n")
    until(lambda: bench.keeper._paused.keys() == {"f-a"}, what="the pause")
    assert [use[:2] for use in used(bench)] == [("dev", ""), ("dev", "f")]
    assert [use.waited for _, _, use in used(bench)] == [0, 1]
    assert all(0 < use.rate <= 1000 for _, _, use in used(bench))
    assert [use[:2] for use in used(bench, "dev", "")] == [("dev", "f")]


def test_use_is_told_over_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(byte_rate, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pace = byte_rate.ByteRate(4096)
    assert pace.used() == 0
    pace.take(5000)
    assert pace.used() == 500
    now[0] = 1009.0
    assert pace.used() == 500
    now[0] = 1015.0
    assert pace.used() == 250
    pace.take(1000)
    assert pace.used() == 350
    now[0] = 1025.0
    assert pace.used() == 50
    now[0] = 1060.0
    assert pace.used() == 0


def test_a_bound_that_is_told_anew_is_the_same_one(bench: Bench) -> None:
    """Each control process tells all of them when it starts: that must not be a way to a second's worth more."""
    bench.ask(Slow(3, "dev", "f", 1024))
    os.write(bench.begin("f-a"), b"x" * 9000 + b"\n")
    until(lambda: bench.keeper._paused.keys() == {"f-a"}, what="the pause")
    bench.ask(Slow(3, "dev", "f", 1024))
    bench.ask(Slow(3, "dev", "f", 1024))
    assert bench.keeper._paused.keys() == {"f-a"}
    assert [use.waited for _, _, use in used(bench)] == [1]


def test_more_uses_than_fit_into_an_answer_come_in_several(bench: Bench) -> None:
    bench.ask(Slow(3, "dev", "", 1 << 20))
    functions = [f"f{number:04d}{'x' * 58}" for number in range(2 * USES_MOST)]
    for function in functions:
        bench.ask(Slow(3, "dev", function, 1024))
        bench.keeper._paces["dev", function].waited = 1
    found: list[Use] = []
    while part := used(bench, *(found[-1][:2] if found else ("", ""))):
        assert len(part) <= USES_MOST
        found += part
    assert [function for _, function, _ in found] == functions
