"""The command line, one module a noun, loaded when its command runs.

What belongs here: reading flags, calling `hilbert.client`, and showing what came of it. What does not: rules of the
platform. Commands are listed in `commands.py`, by import path, so that starting one does not load the others.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script `hilbert`."""
    import gc

    # Loading a command makes many objects and no garbage; looking for it would take a twentieth of the whole time.
    gc.set_threshold(50_000, 20, 20)

    from hilbert.cli.run import run

    sys.exit(run(sys.argv[1:]))
