"""The replica's log: every line stamped, nothing held back, nothing forged."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from support.watchdog import Watchdog, running, until, waiting, watchdog

STAMPED = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z .*", re.DOTALL)


def test_every_line_is_stamped(mode: str) -> None:
    """Whoever wrote it."""
    with running(mode, combine_output="false") as function:
        function.call("POST", "/say")
        until(lambda: "to the log" in function.log, what="the line")
        lines = function.log.split("\n")
        assert lines.pop() == ""
        assert [line for line in lines if not STAMPED.fullmatch(line)] == []


def test_the_prefix_can_be_left_out(mode: str) -> None:
    """`prefix_logs=false`: the text as it was written; else Go's date and the stream's name, as OpenFaaS does it."""
    with running(mode, prefix_logs="false", combine_output="false") as function:
        function.call("POST", "/say")
        until(lambda: "to the log" in function.texts, what=f"the line\n{function.log}")
    with running(mode, prefix_logs="true", combine_output="false") as function:
        function.call("POST", "/say")
        name = "" if mode.startswith("python") else "stderr: "
        pattern = re.compile(rf"20\d\d/\d\d/\d\d \d\d:\d\d:\d\d {name}to the log")
        until(lambda: any(map(pattern.fullmatch, function.texts)), what=f"the line\n{function.log}")


def test_a_flood_stalls_nothing(mode: str) -> None:
    """While a call writes without end, health checks are answered, and memory stays flat."""
    with running(mode, exec_timeout="1h", write_timeout="1h", combine_output="false") as function:
        with waiting(function, "/flood"):
            until(lambda: function.log_path.stat().st_size > 1 << 20, what="a mebibyte of log")
            slowest = 0.0
            for _ in range(10):
                began = time.monotonic()
                assert function.call(path="/_/health").status == 200
                slowest = max(slowest, time.monotonic() - began)
            memory = int(Path(f"/proc/{function.pid}/statm").read_text().split()[1]) * 4096
        assert slowest < 5, "health checks waited for the log"
        assert memory < 100 << 20


def test_what_a_python_handler_prints() -> None:
    """Both streams in order; several lines at once; a last line without its end."""
    source = (
        "import os, sys\n"
        "print('loading')\n"
        "def handle(event, context):\n"
        "    print('one'); print('two', file=sys.stderr); print('three\\nfour'); os.write(1, b'five')\n"
    )
    with watchdog(handler=source) as function:
        function.call()
        until(lambda: "four" in function.texts, what="the lines")
        function.terminate()
        function.wait()
        assert function.texts == ["loading", "one", "two", "three", "four", "five"]


@pytest.fixture
def writer() -> str:
    return "import os\ndef handle(event, context):\n    os.write(1, event.body)\n"


def logged(function: Watchdog, data: bytes) -> bytes:
    """What the log holds, stamps taken off, after the handler wrote `data` and the watchdog ended."""
    function.call("POST", body=data)
    function.terminate()
    function.wait()
    lines = function.log_path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert all(re.match(rb"20\d\d-\d\d-\d\dT[0-9:.]+Z ", line) for line in lines)
    return b"\n".join(line.split(b" ", 1)[1] for line in lines)


def test_long_lines_are_cut(writer: str) -> None:
    """Into pieces of `log_buffer_size`, between characters, with nothing lost."""
    with watchdog(handler=writer, log_buffer_size="10") as function:
        assert logged(function, b"0123456789abc\n" + "ääääääää\n".encode()) == ("0123456789\nabc\näääää\näää".encode())


def test_a_line_without_end_is_cut_too(writer: str) -> None:
    """A megabyte with no line end does not wait in memory for one."""
    with watchdog(handler=writer) as function:
        text = logged(function, b"x" * 1_000_000)
    assert text.replace(b"\n", b"") == b"x" * 1_000_000
    assert max(map(len, text.split(b"\n"))) == 65536


def test_invalid_utf8_is_replaced(writer: str) -> None:
    """The log is always valid text."""
    with watchdog(handler=writer) as function:
        assert logged(function, b"a\xffb\xc3\n").decode() == "a\ufffdb\ufffd"


def test_control_characters_forge_nothing(writer: str) -> None:
    """They are kept, and only a real line end begins a line, which gets a stamp of ours."""
    forged = b"a\rb\x0bc\x0cd\x85e\xe2\x80\xa8f\x1b[2J\x00g\n2026-01-01T00:00:00.000000000Z h\n"
    with watchdog(handler=writer) as function:
        text = logged(function, forged.replace(b"\x85", b""))
    first, second = text.split(b"\n")
    assert first == b"a\rb\x0bc\x0cde\xe2\x80\xa8f\x1b[2J\x00g"
    assert second == b"2026-01-01T00:00:00.000000000Z h"
