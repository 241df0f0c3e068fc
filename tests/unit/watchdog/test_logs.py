"""Stamping and cutting of log lines."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.watchdog.logs import Lines, Log, Pump


@pytest.fixture
def drained() -> Callable[[list[bytes], int], bytes]:
    """What a pump with this line limit makes of pieces written one by one."""
    return drain


def drain(pieces: list[bytes], limit: int) -> bytes:
    read, write = os.pipe()
    taken = bytearray()

    def take() -> None:
        while data := os.read(read, 65536):
            taken.extend(data)

    reader = threading.Thread(target=take)
    reader.start()
    pump = Pump(line_limit=limit)
    end = pump.pipe(Lines(Log(write, stamp=False, date=False)))
    pump.start()
    for piece in pieces:
        os.write(end, piece)
    os.close(end)
    pump.stop()
    os.close(write)
    reader.join(10)
    os.close(read)
    return bytes(taken)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(4, 30))
def test_nothing_is_lost_but_invalid_bytes(pieces: list[bytes], limit: int) -> None:
    """Every line comes out whole, whatever the pieces in which it was written, cut into ones that fit."""
    text = b"".join(pieces)
    lines = drain(pieces, limit).split(b"\n")
    assert lines.pop() == b""
    for line in lines:
        line.decode()
    kept = text.replace(b"\n", b"")
    if is_utf8(kept):
        assert b"".join(lines) == kept
        assert all(len(line) <= limit for line in lines)


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_an_unfinished_line_is_written_at_the_end(drained: Callable[[list[bytes], int], bytes]) -> None:
    """Output that ends without a line end is a line."""
    assert drained([b"one\ntw", b"o"], 100) == b"one\ntwo\n"


def test_stop_does_not_wait_for_other_writers() -> None:
    """A process that still holds the pipe cannot keep the pump from ending."""
    read, write = os.pipe()
    pump = Pump(line_limit=100)
    end = pump.pipe(Lines(Log(write, stamp=False, date=False)))
    pump.start()
    os.write(end, b"said\n")
    pump.stop()
    assert os.read(read, 100) == b"said\n"
    for descriptor in (end, read, write):
        os.close(descriptor)


def test_own_lines_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A line end in a text of the watchdog's own cannot begin another line."""
    Log(1, stamp=True, date=True).line("a\nb")
    pattern = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 20\d\d/\d\d/\d\d \d\d:\d\d:\d\d a\\nb\n"
    assert re.fullmatch(pattern, capfd.readouterr().out)


def test_stamps_do_not_go_back() -> None:
    """Not over a second's end either."""
    read, write = os.pipe()
    log = Log(write, stamp=True, date=False)
    for _ in range(500):
        log.line("x")
    stamps = [line.split(b" ")[0] for line in os.read(read, 65536).splitlines()]
    assert stamps == sorted(stamps)
    for descriptor in (read, write):
        os.close(descriptor)


def test_a_log_that_cannot_be_written_is_no_failure() -> None:
    """There is nobody to tell."""
    read, write = os.pipe()
    os.close(read)
    Log(write, stamp=False, date=False).line("x")
    os.close(write)
