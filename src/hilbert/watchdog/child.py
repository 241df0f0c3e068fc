"""Child processes: started without a copy of this process's memory, watched by pidfd, ended with all their descendants.

`os.posix_spawn` uses `vfork` in the C library, so its cost does not grow with the size of the watchdog.
"""

# ruff: noqa: PTH100, PTH113, PTH118, PTH123
# The import of pathlib would be paid at every start.

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Mapping
from typing import Final

_RESET_SIGNALS: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by Python, and inherited as ignored unless reset."""


_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

CALL_MARK: Final = b"WATCHDOG_CALL"
"""The variable by which a call's processes are known, wherever they have gone. Those that drop it count as left behind."""


_MOST_KILLED: Final = 4096
_MOST_ENVIRON: Final = 1 << 20

_living: set[int] = set()
"""Numbers of our own processes that have not been reaped."""


class Child:
    """A running process, the leader of a session and process group of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        """Readable once the process has ended."""
        self._status: int | None = None
        _living.add(pid)

    def reap(self) -> int | None:
        """The exit status once the process has ended, negative for a signal's number; None before.

        What is left of its group dies with it. The group is signalled while the ended leader still holds the
        number, so no other process can have got it.
        """
        if self._status is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self.kill()
            _, status = os.waitpid(self.pid, 0)
            _living.discard(self.pid)
            self._status = os.waitstatus_to_exitcode(status)
            os.close(self.pidfd)
        return self._status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the process and its group. Nothing happens after it was reaped."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


def adopt_orphans() -> None:
    """Have descendants that lose their parent become this process's own, so that `end_left_behind` finds them."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_strangers() -> None:
    """Reap what fell to this process as process 1 of a container: orphans that had left their group, once they end."""
    for pid in _children("thread-self"):
        if pid not in _living:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end_left_behind(calls: Collection[bytes]) -> bool:
    """Kill the orphans that fell to this process, with all below them, but for those of `calls`; whether there were any.

    Which call one belongs to is said by its mark. Call it again soon while it finds some: a tree that grows as it is
    killed is caught the next time.
    """
    found = False
    for pid in _children("thread-self"):
        if pid in _living:
            continue
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0 and _mark(pid) not in calls:
                found = True
                _kill_tree(pid)
    return found


def _kill_tree(root: int) -> None:
    """Kill a child that has not been reaped, and what is below it."""
    found = [root]
    for pid in found:
        found += _children(str(pid))[: _MOST_KILLED - len(found)]
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _children(process: str) -> list[int]:
    try:
        if process != "thread-self":
            process = f"{process}/task/{process}"
        with open(f"/proc/{process}/children", "rb", buffering=0) as file:
            return [int(pid) for pid in file.readall().split()]
    except OSError:
        return []  # It has gone; or a kernel without this file, where they stay until the replica's end.


def _mark(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read(_MOST_ENVIRON)
    except OSError:
        return b""
    begin = CALL_MARK + b"="
    return next((one[len(begin) :] for one in environ.split(b"\0") if one.startswith(begin)), b"")


def spawn(
    path: str, argv: tuple[str, ...], env: Mapping[bytes, bytes], *, stdin: int, stdout: int, stderr: int
) -> Child:
    """Start `path` in a new session, in this process's working folder. Raises `OSError`.

    The three descriptors become 0, 1 and 2; everything else closes by itself, as descriptors made by Python do.
    """
    pid = os.posix_spawn(
        path,
        argv,
        env,
        file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, n) for n, descriptor in enumerate((stdin, stdout, stderr))],
        setsigdef=_RESET_SIGNALS,
        setsigmask=(),
        setsid=True,
    )
    try:
        return Child(pid)
    except OSError:  # Out of descriptors: nobody could watch it.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def spawn_bound(path: str, argv: tuple[str, ...], env: Mapping[str, str], *, stdin: int) -> Child:
    """Start `path` in a new session, to be killed by the kernel when this process dies. Raises `OSError`.

    Forks for it, so it must be called before there are threads; 1 and 2 are inherited.
    """
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return Child(pid)
    try:
        os.setsid()
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.dup2(stdin, 0)
        for number in _RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == parent:  # Else it has died before the kernel was asked to watch it.
            os.execve(path, argv, env)  # noqa: S606 - that there is no shell is the point
    finally:
        os._exit(127)


def find_program(name: str, search: str) -> str:
    """The absolute path of a command, looked for in `search` (`PATH`) when it has no slash. Raises `FileNotFoundError`."""
    if "/" in name:
        candidates = [os.path.abspath(name)]
    else:
        candidates = [os.path.join(folder, name) for folder in search.split(":") if folder]
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"no executable {name!r} in {search}" if "/" not in name else f"{name} is not executable")
