"""The first code of a replica: confine this process, wait for leave to go on, then become the watchdog.

Started as a script with the standard library alone on `sys.path`, so that nothing is imported that is not needed.
It trusts its argument, which comes from the runtime, and runs before any code of the function.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_LAST = 5
"""The highest descriptor that is given on purpose (`contract.ENVIRONMENT`)."""
_HANDED = (3, 5, 1)
"""`contract.HANDED`, and standard error is the same as the last."""
_ABOVE = 32
_ENTRY_MOST = 65536
_CONFINING = ("user", "drop", "own_network", "etc", "landlock", "scope", "limits", "filter")


def main() -> None:
    entry = json.loads(sys.argv[1])
    sys.path[:] = entry["paths"]
    os.closerange(_LAST + 1, 65536)  # Nothing of the platform's that came by accident.
    spare = bool(entry.get("spare"))
    if spare:
        _confine(entry)
        entry = _wait_for_an_owner(entry["gate"])
    _confine(entry)
    if entry.get("parent"):
        _end_with(entry["parent"])
    os.chdir(entry["chdir"])
    from hilbert.watchdog.run import run_and_exit

    if entry.get("probe"):
        return
    # Everything up to here took time, in which the runtime wrote down who this is. If it died before it could, nobody
    # will ever look after this process: it ends here, and no code of the function has run.
    if not spare and os.read(entry["gate"], 1) != b"+":
        sys.exit(0)
    os.close(entry["gate"])
    _take_environment(entry["environment"])
    sys.argv[:] = ["hilbert-watchdog"]
    run_and_exit()


def _confine(entry: dict[str, Any]) -> None:
    if any(entry.get(name) for name in _CONFINING):
        from hilbert.runtimes.process.sandbox import confine

        confine.confine(entry)


def _wait_for_an_owner(gate: int) -> dict[str, Any]:
    """Of a spare sandbox: have everything imported that every replica imports before the function's own code, and no more.

    Then the entry of the replica that moves in, with its descriptors. This process ends here if none ever does.
    """
    import fcntl
    import socket

    import hilbert.runtimes.process.sandbox.confine
    import hilbert.runtimes.replica.seccomp  # noqa: F401
    from hilbert.watchdog.run import preload

    preload()
    with socket.socket(fileno=os.dup(gate)) as line:
        line.send(b"ready")
        message, given, _, _ = socket.recv_fds(line, _ENTRY_MOST, len(_HANDED))
    if not message:
        sys.exit(0)
    apart = [fcntl.fcntl(source, fcntl.F_DUPFD, _ABOVE) for source in given]  # So that none is overwritten by another.
    os.closerange(_LAST + 1, _ABOVE)
    for place, source in zip(_HANDED, apart, strict=True):
        os.dup2(source, place)
        os.close(source)
    os.dup2(1, 2)
    return json.loads(message)  # type: ignore[no-any-return]


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
