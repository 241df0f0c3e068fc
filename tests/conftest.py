"""Fixtures for every test: asyncio on uvloop, and a check that no module leaves processes or descriptors behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

import hypothesis
import psutil
import pytest

_SETTLE = 5.0
"""Seconds for what a module started to end."""
_DESCRIPTORS = 12
"""Descriptors that a module may add for good: caches, event loops, log handlers."""


hypothesis.settings.register_profile("busy", deadline=None)
"""A machine that runs other tests beside makes an example slow, not wrong."""


def pytest_configure() -> None:
    """Start from the same signal dispositions whoever started the run: `nohup` and a shell's `&` leave some ignored.

    A handler, unlike SIG_IGN, is not inherited over exec: what a test starts has the default again, and the run itself
    still outlives its terminal.
    """
    hypothesis.settings.load_profile("busy")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _heard)


def _heard(number: int, frame: FrameType | None) -> None:
    """Nothing to do."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test has to say besides its result, by `record_property`: also of one that ran in another process."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                for name, said in report.user_properties:
                    terminalreporter.write_line(f"{name}: {said}")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that the platform runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True, scope="module")
def nothing_leaks() -> Iterator[None]:
    """Fail a module that leaves child processes running or descriptors open."""
    children, descriptors = _children(), _descriptors()
    yield
    end = time.monotonic() + _SETTLE
    while (left := _children() - children) and time.monotonic() < end:
        time.sleep(0.02)
    gc.collect()
    assert not left, f"left running: {[_named(pid) for pid in left]}"
    assert _descriptors() <= descriptors + _DESCRIPTORS, f"{_descriptors()} descriptors open, {descriptors} before"


def _children() -> set[int]:
    running = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # It may end while it is looked at.
            if child.status() != psutil.STATUS_ZOMBIE:
                running.add(child.pid)
    return running


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _named(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{pid} {' '.join(psutil.Process(pid).cmdline())[:200]}"
    return str(pid)
