"""The command line: `frame` (how commands are found and run), `terminal` (how things are shown), and a folder a noun.

What belongs here: reading flags, calling `hilbert.client`, and showing the result. What does not: rules of the platform.
Each folder's `__init__` lists its commands by import path, so that starting one does not load the others.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script `hilbert`."""
    import gc

    # Loading a command makes many objects and no garbage; looking for it would take a twentieth of the whole time.
    gc.set_threshold(50_000, 20, 20)

    from hilbert.cli.frame.run import run

    status = run(sys.argv[1:])
    gc.freeze()  # The interpreter would look for garbage again before it ends, which takes a tenth of the time.
    sys.exit(status)
