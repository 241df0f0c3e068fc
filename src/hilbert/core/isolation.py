"""What a runtime can promise of a replica: how far it is kept from other tenants and from the platform.

The words are the tenant's, not those of one sandbox, so that every runtime can answer: each says which promises it holds
for a replica, and starts none that needs more. Order is inclusion.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

from hilbert.core.errors import Invalid


class Promise(enum.StrEnum):
    """One thing that a replica cannot do to others, whatever code runs in it."""

    FILES = "files"
    """Read or change files, secrets and logs of others and of the platform."""
    PROCESSES = "processes"
    """See, signal, trace or slow down processes outside."""
    SOCKETS = "sockets"
    """Reach unix sockets of others and of the platform."""
    IPC = "ipc"
    """Reach System V and POSIX message queues, semaphores and shared memory of others."""
    SYSTEM_CALLS = "system-calls"
    """Use system calls that change the machine, gain privileges or reach past the sandbox."""
    NETWORK = "network"
    """Reach services of this machine, or listen where others are expected to."""
    LIMITS = "limits"
    """Use more memory, CPU or processes than allowed, all that it has started counted together; or use up what the kernel
    counts by user, such as watches of epoll, so that others have none."""
    SCRATCH = "scratch"
    """Fill the disk: its scratch space is bounded."""
    REMAINS = "remains"
    """Leave a process behind when it ends."""
    KERNEL = "kernel"
    """Reach the machine's kernel: its system calls go to a kernel of its own (gVisor)."""


STRICT: Final = frozenset(Promise) - {Promise.KERNEL}
"""What namespaces that do not trust each other need. A kernel of its own is for those who ask for one."""


def parse_promises(text: str) -> frozenset[Promise]:
    """From `strict`, or promises separated by commas; empty: none. Raises `Invalid`."""
    if text.strip() == "strict":
        return STRICT
    found = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.add(Promise(word))
        except ValueError as exc:
            raise Invalid(f"unknown promise {word!r}: use strict, or some of {', '.join(Promise)}") from exc
    return frozenset(found)


def render_promises(promises: Iterable[Promise]) -> str:
    """The inverse of `parse_promises`: sorted, separated by commas."""
    return ",".join(sorted(promises))
