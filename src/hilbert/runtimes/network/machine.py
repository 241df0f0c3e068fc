"""As root: what this machine itself needs so that replicas' links lead anywhere, and taking that back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.runtimes.network import links, nftables, rules
from hilbert.runtimes.network.addresses import Pool
from hilbert.runtimes.network.claims import FOLDER, Claim, Record, of_the_dead, this_network

_GONE_MOST: Final = 10.0
_LOOK_EVERY: Final = 0.02
_CONF: Final = Path("/proc/sys/net/ipv4/conf")


def prepare(label: str, pool: Pool, programs: Mapping[str, str]) -> tuple[str, Claim | None]:
    """Put our table of rules in place, and let the interfaces of default routes pass on what comes back for replicas.

    Removes what installations have left that were killed. Blocks for some milliseconds. Returns why it did not work, in one
    sentence, empty when it did; and what says that this installation is there, for `tidy` or to be released.
    Forwarding is switched on for the interfaces that need it alone.
    """
    claim: Claim | None = None
    try:
        end = time.monotonic() + _GONE_MOST
        while (claim := Claim.take(label)) is None and time.monotonic() < end:
            time.sleep(_LOOK_EVERY)  # The control process before this one is about to end.
        of_the_dead(label, lambda name, record: _remove(name, record, programs))
        nftables.load_by_program(programs["nft"], rules.machine(label, pool))
        if claim is not None:
            closed = [name for name in sorted(_outer_interfaces()) if _switch(name).read_text().strip() == "0"]
            before = claim.record
            kept = before.forwarding if before.network == this_network() else ()
            claim.write(Record(this_network(), (*kept, *closed)))
            for interface in closed:
                _switch(interface).write_text("1")
    except OSError as exc:
        return str(exc), claim
    return "", claim


def is_dead(label: str, *, folder: Path = FOLDER) -> bool:
    """Whether the table of that installation belongs to nobody: it has no link here, and nobody holds its claim."""
    if links.present(label):
        return False
    claim = Claim.take(label, folder=folder)
    if claim is None:
        return False
    known = claim.record.network
    claim.release(remove=not known)  # Nothing was written: it was made by the question.
    return known in (0, this_network())


def remove_dead(label: str, programs: Mapping[str, str], *, folder: Path = FOLDER) -> None:
    """Remove that table, unless it belongs to somebody by now. Raises `OSError`."""
    claim = Claim.take(label, folder=folder)
    if claim is not None:
        gone = False
        try:
            gone = _remove(label, claim.record, programs)
        finally:
            claim.release(remove=gone)


def tidy(label: str, claim: Claim, programs: Mapping[str, str]) -> None:
    """Remove our table once our links are gone, and switch off what we switched on, unless others have links here.

    The kernel takes a moment to remove a network, so this waits for some seconds at most. Never raises: what stays is
    replaced at the next start, or removed at that of another installation.
    """
    end = time.monotonic() + _GONE_MOST
    while links.present(label) and time.monotonic() < end:
        time.sleep(_LOOK_EVERY)
    gone = False
    try:
        gone = _remove(label, claim.record, programs)
    except OSError:
        pass
    finally:
        claim.release(remove=gone)


def _remove(label: str, record: Record, programs: Mapping[str, str]) -> bool:
    """Take an installation's rules away. False: it has links, so replicas of it run. Raises `OSError`."""
    if record.network and record.network != this_network():
        return False
    if links.present(label):
        return False
    nftables.load_by_program(programs["nft"], rules.without_machine(label))
    if not links.present():
        for interface in record.forwarding:
            with contextlib.suppress(FileNotFoundError):
                _switch(interface).write_text("0")
    return True


def _switch(interface: str) -> Path:
    return _CONF / interface / "forwarding"


def _outer_interfaces(routes: Path = Path("/proc/net/route")) -> set[str]:
    """Those of the default routes (proc_pid_net(5))."""
    lines = [line.split() for line in routes.read_text().splitlines()[1:]]
    return {words[0] for words in lines if words[1] == "00000000" and words[7] == "00000000"}
