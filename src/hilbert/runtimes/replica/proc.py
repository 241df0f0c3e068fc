"""Finding a process again: a process id with its start time, held by a pidfd, never confused with a later process."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from hilbert.kit.process import has_ended
from hilbert.runtimes.replica.groups import descendants


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


def open_first_child(pid: int, descriptor: int) -> int | None:
    """A pidfd of the oldest child of the process that `descriptor` is of; None when there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        found = os.pidfd_open(child)
        # It was opened before its parent was asked for once more: so it is this one, and no later process of that number.
        parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        if parent == pid and not has_ended(descriptor):
            return found
        os.close(found)
    return None


def send(descriptor: int, number: signal.Signals) -> None:
    """Signal the process. Absence is success."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def kill_tree(pid: int) -> None:
    """Kill a process with all that it has started, for as long as that can be seen from their parents."""
    if pid <= 1:
        raise ValueError("everything descends from these, and 0 would mean this process's own group")
    for _ in range(20):  # One may start another while the list is made.
        members = [member for member in descendants(pid) if member != pid]
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        if not any(not _is_zombie(member) for member in members):
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_marked(mark: str) -> None:
    """Kill every process whose environment has `mark` in it, as it was when its program was started, or its mounts have.

    `mark` is a replica's folder. For what a replica has left behind where no control group holds it together: also a daemon in
    a session of its own. One that shares this machine's mounts and wants to hide can.
    """
    if not mark.startswith("/"):
        raise ValueError("a mark is a folder's path; anything less would be found in every process")
    wanted, mounted = os.fsencode(mark), b"/" + os.fsencode(Path(mark).name) + b"/secrets "
    for _ in range(20):  # One may start another while the list is made.
        found = [
            int(entry)
            for entry in os.listdir("/proc")  # noqa: PTH208 - many entries, and only their names
            if entry.isdigit() and (wanted in _environment(entry) or mounted in _mounts_apart(entry))
        ]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _environment(pid: str) -> bytes:
    """Empty for a process that has ended, and for those of others."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _mounts_apart(pid: str) -> bytes:
    """The mounts of a process that does not share this one's (proc_pid_mountinfo(5)); else empty."""
    try:
        if Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
            return b""
        return Path(f"/proc/{pid}/mountinfo").read_bytes()
    except OSError:
        return b""


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
