"""Finding a process again: a process id with its start time, held by a pidfd, never confused with a later process."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from hilbert.providers.process.groups import descendants


def start_time(pid: int) -> str:
    """When the process was started, in ticks since boot (proc_pid_stat(5)). Raises `ProcessLookupError`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError) as exc:
        raise ProcessLookupError(f"no process {pid}") from exc


def open_process(pid: int, started: str) -> int | None:
    """A pidfd of exactly that process; None when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        # The descriptor was opened first: if the start time fits now, it is of this process and stays so.
        if start_time(pid) == started and not _is_zombie(pid):
            return descriptor
    except ProcessLookupError:
        pass
    os.close(descriptor)
    return None


def send(descriptor: int, number: signal.Signals) -> None:
    """Signal the process. Absence is success."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def kill_tree(pid: int) -> None:
    """Kill a process with all that it has started, for as long as that can be seen from their parents."""
    for _ in range(20):  # One may start another while the list is made.
        members = [member for member in descendants(pid) if member != pid]
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        if not any(not _is_zombie(member) for member in members):
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_session(leader: int, started: str) -> None:
    """Kill what is left of a session whose leader is gone."""
    with contextlib.suppress(ProcessLookupError):
        if start_time(leader) != started:
            return  # Its number was given again, and so may the session's be.
    for entry in os.listdir("/proc"):  # noqa: PTH208 - many entries, and only their names
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            session = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[3])
            if session == leader:
                os.kill(int(entry), signal.SIGKILL)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True


def describe_status(status: int, *, through_parent: bool) -> tuple[str, int]:
    """A wait status in words, and the signal in it, 0 for none. A sandbox's parent turns signals into 128 and more."""
    code = os.waitstatus_to_exitcode(status)
    number = -code if code < 0 else code - 128 if through_parent and 128 < code < 192 else 0
    if number:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(number).name}", number
        return f"was killed by signal {number}", number
    return f"exited with status {code}", 0
