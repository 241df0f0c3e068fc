"""Lists what killed platforms have left on this machine, or removes it: `python -m hilbert.server.strays STATE RUN [fix]`.

Run by `hilbert doctor`. Prints a `Report` as JSON. While a platform runs on the folders, nothing of it is a stray.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import HilbertError
from hilbert.core.settings import PathSettings
from hilbert.providers.host.store import stored_handles
from hilbert.runtimes.strays.look import Stray, other_strays, own_strays
from hilbert.runtimes.strays.remove import remove_others, remove_own
from hilbert.runtimes.strays.whose import Installation
from hilbert.server import folders

FIX: Final = "fix"


class Report(msgspec.Struct, frozen=True):
    """What was found, and what of it is still there after it was to be removed."""

    found: list[Stray]
    left: list[Stray] = []


def main(argv: list[str]) -> int:
    state, run = Path(argv[1]), Path(argv[2])
    own = Installation(run)
    with contextlib.ExitStack() as held:
        stopped = _hold(held, state, run)
        if argv[3:] != [FIX]:
            held.close()  # A platform may start: this only looks.

        def look() -> list[Stray]:
            return (own_strays(own, stored_handles(state / "hilbert.db")) if stopped else []) + other_strays(own)

        report = Report(look())
        if argv[3:] == [FIX]:
            if stopped:
                remove_own(own, stored_handles(state / "hilbert.db"))
            remove_others(own)
            still = set(look())
            report = Report(report.found, [stray for stray in report.found if stray in still])
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 0


def _hold(held: contextlib.ExitStack, state: Path, run: Path) -> bool:
    """Hold the folders, so that no platform starts on them meanwhile. False: one runs, or there never was one."""
    if not state.is_dir():
        return False
    try:
        if run.is_dir():
            for descriptor in folders.lock_both(PathSettings(state_dir=str(state), run_dir=str(run))):
                held.callback(os.close, descriptor)
        else:
            held.callback(os.close, folders.lock(state, "paths.state_dir"))
    except HilbertError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv))
