"""How much of the machine others used while something was measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import psutil

_TICKS: int = os.sysconf("SC_CLK_TCK")
_SHORTEST = 1.0
"""Seconds: what came at once with something else was measured in the same time."""


class Meter:
    """Tells, each time it is asked, of the time since it was asked before."""

    def __init__(self) -> None:
        self._last = ""
        self._began()

    def _began(self) -> None:
        self._at, self._busy, self._own = time.monotonic(), _busy(), _own()

    def sentence(self) -> str:
        """What share of all processors others used, for a report."""
        seconds = time.monotonic() - self._at
        if seconds >= _SHORTEST:
            others = max(0.0, (_busy() - self._busy) - (_own() - self._own))
            share = min(1.0, others / (seconds * (os.cpu_count() or 1)))
            self._last = (
                f"Noise: meanwhile other programs, and other guests of the host, used {share:.0%} of the processors' time; "
                f"load average at the end {os.getloadavg()[0]:.1f}."
            )
            self._began()
        return self._last


def _busy() -> float:
    """Processor seconds that anybody has used, or that the host has taken, since the machine started."""
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = (
        int(ticks) for ticks in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _own() -> float:
    """Processor seconds of this process and of all that it has started."""
    ended, mine = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    total = ended.ru_utime + ended.ru_stime + mine.ru_utime + mine.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue  # It has ended meanwhile.
        total += times.user + times.system + times.children_user + times.children_system
    return total
