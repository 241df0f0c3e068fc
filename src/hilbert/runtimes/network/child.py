"""How this package starts its own programs: with the same interpreter and modules, and nothing else of the environment."""

from __future__ import annotations

import os
import sys


def command(module: str) -> list[str]:
    """The command line of a module of this package."""
    return [sys.executable, "-P", "-m", f"hilbert.runtimes.network.{module}"]


def environment() -> dict[str, str]:
    """Modules are found where this process finds them, also where they were not installed."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
