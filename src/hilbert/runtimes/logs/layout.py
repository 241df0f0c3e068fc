"""Names of a replica's log files, in the folder of its function.

A log is two files, each at most half of the limit: the one that is written, and the one before it. A replica that is
gone has them under other names, so that whoever comes later knows.
"""

from __future__ import annotations

from typing import Final

LIVE: Final = ".log"
OLD: Final = ".old"
EARLIER: Final = ".1"
"""After the others: the half before."""


def replica_of(name: str) -> str:
    """The replica whose file `name` is; empty when it is none of ours."""
    stem = name.removesuffix(EARLIER)
    for suffix in (LIVE, OLD):
        if stem.endswith(suffix):
            return stem.removesuffix(suffix)
    return ""
