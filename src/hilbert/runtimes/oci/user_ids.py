"""Which images need several user ids, and where those come from."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.core.errors import InvalidSpec
from hilbert.runtimes.oci.program import Program, accounts_of

ANNOTATION_USER_IDS: Final = "com.hilbert.user-ids"
"""On a function: `one` or `many`, where the guess below is wrong."""
_CHOICES: Final = ("one", "many")

BLOCK: Final = 65536
"""Ids of one block, as many as images can count on."""
_FIRST_ORDINARY: Final = 100
"""Below are the accounts that distributions are delivered with (Debian policy 9.2.2, and the same elsewhere)."""
_NOBODY: Final = 65534
_DELIVERED: Final = frozenset(
    {"_apt", "guest", "messagebus", "nobody", "ntp", "polkitd", "smmsp", "ssh_keys", "sshd", "tcpdump", "vpopmail"}
)
"""Accounts with higher ids that come with base images all the same. Those of systemd have its name in theirs."""


def check_choice(annotations: Mapping[str, str]) -> None:
    """Raise `InvalidSpec` for an annotation without a meaning."""
    if annotations.get(ANNOTATION_USER_IDS, "one") not in _CHOICES:
        raise InvalidSpec(f"annotation {ANNOTATION_USER_IDS}: must be one of {', '.join(_CHOICES)}")


def why_many(root: Path, program: Program, annotations: Mapping[str, str]) -> str:
    """Why the image's program needs ids besides its own, or nothing. Blocks for one small file.

    Whoever starts as root and has made an account that it does not start as is about to become that one.
    """
    chosen = annotations.get(ANNOTATION_USER_IDS)
    if chosen is not None:
        return f"its annotation {ANNOTATION_USER_IDS} says so" if chosen == "many" else ""
    if program.user != 0:
        return ""
    for name, number in accounts_of(root):
        if _FIRST_ORDINARY <= number < _NOBODY and name not in _DELIVERED and not name.startswith("systemd"):
            return f"it starts as root and has the account {name}"
    return ""


def mappers(*, subuid: Path = Path("/etc/subuid"), subgid: Path = Path("/etc/subgid")) -> tuple[tuple[str, ...], ...]:
    """For this ordinary user: what gives a process ids from its ranges. Empty: it has none, or no program to do so.

    Id 0 is this user, and 1 and the others are those of its first range that is long enough (subuid(5)).
    """
    user, group = os.geteuid(), os.getegid()
    found = []
    for program, file, own in (("newuidmap", subuid, user), ("newgidmap", subgid, group)):
        path = shutil.which(program, path="/usr/bin:/bin:/usr/local/bin")
        range_ = _range(file, user)
        if path is None or range_ is None:
            return ()
        found.append((path, "0", str(own), "1", "1", str(range_[0]), str(min(range_[1], BLOCK - 1))))
    return tuple(found)


def _range(file: Path, user: int) -> tuple[int, int] | None:
    names = {str(user)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(user).pw_name)
    try:
        rows = [line.split(":") for line in file.read_text().splitlines()]
    except OSError:
        return None
    ranges = [
        (int(row[1]), int(row[2]))
        for row in rows
        if len(row) == 3 and row[0] in names and row[1].isdigit() and row[2].isdigit()
    ]
    return next((one for one in ranges if one[1] >= BLOCK - 1), None)
