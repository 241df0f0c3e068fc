"""Ties between a process and its parent (Linux, `prctl(2)`)."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_OOM_SPARED: Final = -500


def end_with_parent() -> None:
    """End at once when the parent ends, and leave a terminal's Ctrl-C to the parent. Raises `OSError`.

    By `SIGKILL`: nothing that this process does or waits for can put it off.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends. Raises `OSError`."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def spare() -> None:
    """Have the kernel choose others before this process and its children when memory runs out.

    Raises `PermissionError` without the right to (CAP_SYS_RESOURCE).
    """
    with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - pathlib is not imported in every process
        file.write(str(_OOM_SPARED))


def take_descriptors() -> int:
    """Have as many file descriptors as this process may have; returns how many that are. What it starts inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def has_ended(process: int) -> bool:
    """Whether the process of a pidfd has ended."""
    return is_ready(process, select.POLLIN)


def is_ready(descriptor: int, events: int, *, within: float = 0.0) -> bool:
    """Whether one of the events of poll(2) comes within so many seconds.

    `select.select` would raise `ValueError` for a descriptor above 1023, and a process that looks after many replicas has those.
    """
    waiting = select.poll()
    waiting.register(descriptor, events)
    return bool(waiting.poll(within * 1000))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
