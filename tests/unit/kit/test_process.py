"""Processes by their pidfds."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess

import pytest

from hilbert.kit.process import has_ended


def test_the_end_of_a_process_is_seen_through_a_descriptor_of_any_number() -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most <= 1100:
        pytest.skip("this process may not have a descriptor above 1023")
    process = subprocess.Popen(["sleep", "60"])
    low = os.pidfd_open(process.pid)
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1100)
    try:
        assert not has_ended(low)
        assert not has_ended(high)
        process.kill()
        process.wait()
        assert has_ended(low)
        assert has_ended(high)
    finally:
        os.close(low)
        os.close(high)
