"""Ends replicas that nobody looks after any more: `python -m hilbert.server.sweep STATE RUN [held]`.

Run by the supervisor when the control process could not stop them, and by `hilbert down` when there is no supervisor.
Prints how many it found. `held`: the caller holds the state folder's lock; otherwise it is taken, so that the replicas of
a gateway that runs are safe.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from hilbert.core.errors import HilbertError
from hilbert.providers.host.store import stored_handles
from hilbert.runtimes.replica.leftovers import end_leftovers
from hilbert.server import folders

HELD: Final = "held"


def main(argv: list[str]) -> int:
    state, run = Path(argv[1]), Path(argv[2])
    try:
        lock = None if argv[3:] == [HELD] else folders.lock(state, "paths.state_dir")
    except HilbertError as exc:
        sys.stderr.write(f"error: {exc.message}\n")
        return 1
    ended = end_leftovers(run / "r", stored_handles(state / "hilbert.db"))
    sys.stdout.write(f"{ended}\n")
    if lock is not None:
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
