"""Run every test in parallel, and those that failed once more, alone.

Some tests watch processes that share the processors with other tests, so a few of them can fail for want of time. A test
that passes alone is listed as unsteady, by name; one that fails again, or more than a handful of failures, fails the run.
Usage: tools/test.py JOBS
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

_FAILED: Final = Path(".pytest_cache/v/cache/lastfailed")
_HANDFUL: Final = 5
"""More failures than this are no matter of time: they are not tried again."""
_TESTS_FAILED: Final = 1
"""What pytest answers when all was run and something failed."""


def main(jobs: str) -> int:
    """The exit status of the run."""
    pytest = [sys.executable, "-m", "pytest"]
    status = subprocess.run(
        [*pytest, "--numprocesses", jobs, "--dist", "loadfile", "--cache-clear"], check=False
    ).returncode
    if status != _TESTS_FAILED:
        return status
    failed = sorted(json.loads(_FAILED.read_text()))
    if not 0 < len(failed) <= _HANDFUL:
        return status
    print(f"\nOnce more, alone: {len(failed)} that failed beside others", flush=True)
    status = subprocess.run(
        [*pytest, "-p", "no:xdist", "--last-failed", "--last-failed-no-failures=none"], check=False
    ).returncode
    if status == 0:
        print("\nUnsteady, to be mended (failed beside others, passed alone):", *failed, sep="\n  ", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
