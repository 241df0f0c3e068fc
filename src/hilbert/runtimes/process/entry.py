"""The first code of a replica: confine this process, wait for leave to go on, then become the watchdog.

Started as a script with the standard library alone on `sys.path`, so that nothing is imported that is not needed.
It trusts its argument, which comes from the runtime, and runs before any code of the function.
"""

from __future__ import annotations

import json
import os
import sys

_LAST = 5
"""The highest descriptor that is given on purpose (`contract.ENVIRONMENT`)."""


def main() -> None:
    entry = json.loads(sys.argv[1])
    sys.path[:] = entry["paths"]
    os.closerange(_LAST + 1, 65536)  # Nothing of the platform's that came by accident.
    if any(entry.get(name) for name in ("user", "drop", "own_network", "landlock", "scope", "filter")):
        from hilbert.runtimes.process.sandbox import confine

        confine.confine(entry)
    if entry.get("parent"):
        _end_with(entry["parent"])
    os.chdir(entry["chdir"])
    from hilbert.watchdog.run import run_and_exit

    if entry.get("probe"):
        return
    # Everything up to here took time, in which the runtime wrote down who this is. If it died before it could, nobody
    # will ever look after this process: it ends here, and no code of the function has run.
    if os.read(entry["gate"], 1) != b"+":
        sys.exit(0)
    os.close(entry["gate"])
    _take_environment(entry["environment"])
    sys.argv[:] = ["hilbert-watchdog"]
    run_and_exit()


def _end_with(parent: int) -> None:
    """Be told by the kernel when the parent's thread ends. After the change of user, which would undo it."""
    import signal

    from hilbert.runtimes.process.sandbox import confine

    confine.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(0)


def _take_environment(descriptor: int) -> None:
    """The function's environment comes only now: some names (`LD_PRELOAD`) would have brought its code in too early."""
    with open(descriptor, "rb") as file:
        environment = json.load(file)
    os.environ.clear()  # noqa: TID251 - the function's, not ours
    os.environ.update(environment)  # noqa: TID251
    if "TZ" in environment:
        import time

        time.tzset()


if __name__ == "__main__":
    main()
