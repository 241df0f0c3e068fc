"""As root: what this machine itself needs so that replicas' links lead anywhere, and taking that back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hilbert.runtimes.network import links, rules
from hilbert.runtimes.network.addresses import Pool

_PROGRAM_MOST: Final = 20.0
_GONE_MOST: Final = 3.0
_LOOK_EVERY: Final = 0.02
_RECORD: Final = "forwarding"
_CONF: Final = Path("/proc/sys/net/ipv4/conf")


def prepare(folder: Path, label: str, pool: Pool, programs: Mapping[str, str]) -> str:
    """Put our table of rules in place, and let the interfaces of default routes pass on what comes back for replicas.

    Blocks for some milliseconds. Why it did not work, in one sentence; empty when it did. Forwarding is switched on for the
    interfaces that need it alone; a file in `folder` says which, so that `tidy` can switch it off again.
    """
    try:
        _nft(programs["nft"], rules.machine(label, pool))
        for interface in _outer_interfaces():
            switch = _CONF / interface / "forwarding"
            if switch.read_text().strip() == "0":
                with (folder / _RECORD).open("a") as record:
                    record.write(f"{interface}\n")
                switch.write_text("1")
    except subprocess.CalledProcessError as exc:
        said = (exc.stderr or "").strip().splitlines()
        return f"nft: {said[0] if said else exc.returncode}"
    except (OSError, subprocess.SubprocessError) as exc:
        return str(exc)
    return ""


def tidy(folder: Path, label: str, programs: Mapping[str, str]) -> None:
    """Remove our table once our links are gone, and switch off what we switched on, unless others have links here.

    The kernel takes a moment to remove a network, so this waits for some seconds at most. Never raises: what stays is
    replaced at the next start.
    """
    end = time.monotonic() + _GONE_MOST
    while links.present(label) and time.monotonic() < end:
        time.sleep(_LOOK_EVERY)
    if links.present(label):
        return
    try:
        _nft(programs["nft"], rules.without_machine(label))
        record = folder / _RECORD
        if record.exists() and not links.present():
            for interface in record.read_text().split():
                (_CONF / interface / "forwarding").write_text("0")
            record.unlink()
    except (OSError, subprocess.SubprocessError):
        return


def _outer_interfaces(routes: Path = Path("/proc/net/route")) -> set[str]:
    """Those of the default routes (proc_pid_net(5))."""
    lines = [line.split() for line in routes.read_text().splitlines()[1:]]
    return {words[0] for words in lines if words[1] == "00000000" and words[7] == "00000000"}


def _nft(program: str, text: str) -> None:
    subprocess.run([program, "-f", "-"], input=text, capture_output=True, text=True, timeout=_PROGRAM_MOST, check=True)
