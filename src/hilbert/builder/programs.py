"""One build under way: its log, and the programs it runs, which end when the build is cancelled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from hilbert.builder.build_errors import BuildFailed

_KEPT_LINES: Final = 400
_LONGEST_LINE: Final = 4096
_GRACE: Final = 2.0
"""Seconds that a cancelled program may take to end by itself."""


class Cancelled(Exception):
    """The build was cancelled. Not an error: nobody waits for it any more."""


class Job:
    """A build's log and programs. `run` may be called from one thread, `cancel` from any."""

    def __init__(self, name: str, *, on_line: Callable[[str], None] | None = None) -> None:
        """`on_line` is given every line of the log as it comes."""
        self.name = name
        self.step = "waiting"
        """What is being done now, in a few words."""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line
        self._cancelled = threading.Event()
        self._stop: Callable[[], None] | None = None
        """Ends what is under way."""
        self._lock = threading.Lock()

    def log(self, line: str) -> None:
        """Add one line."""
        line = line[:_LONGEST_LINE]
        self._lines.append(line)
        if self._on_line is not None:
            self._on_line(line)

    def tail(self, count: int = 40) -> list[str]:
        """The newest lines."""
        return list(self._lines)[-count:]

    def begin(self, step: str) -> None:
        """Say what comes next. Raises `Cancelled`."""
        if self._cancelled.is_set():
            raise Cancelled
        self.step = step

    def cancel(self) -> None:
        """End what runs; the thread that runs it gets `Cancelled`."""
        self._cancelled.set()
        with self._lock:
            stop = self._stop
        if stop is not None:
            stop()

    @contextlib.contextmanager
    def stopped_by(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `cancel` calls `stop`, from its own thread. Raises `Cancelled` afterwards if it did."""
        with self._lock:
            self._stop = stop
        try:
            if self._cancelled.is_set():
                stop()
            yield
        except Exception:
            if self._cancelled.is_set():
                raise Cancelled from None
            raise
        finally:
            with self._lock:
                self._stop = None
        if self._cancelled.is_set():
            raise Cancelled

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        secret: Sequence[str] = (),
    ) -> int:
        """Run a program to its end, its output going to the log; the exit status.

        It gets no input and a process group of its own. Words in `secret` are kept out of the log.
        Raises `BuildFailed` when the program cannot be started, and `Cancelled`.
        """
        self.begin(self.step)
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            raise BuildFailed(f"cannot run {argv[0]}: {exc.strerror}", log=self.tail()) from exc
        with self.stopped_by(lambda: _end(process)):
            try:
                lines: IO[bytes] = process.stdout  # type: ignore[assignment]  # it is a pipe, as asked for
                with lines:
                    for raw in lines:
                        line = raw.decode("utf-8", "replace").rstrip("\r\n")
                        for word in secret:
                            line = line.replace(word, "***")
                        self.log(line)
                return process.wait()
            except BaseException:
                _end(process)
                raise


def output_of(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], seconds: float = 20.0) -> str | None:
    """What a short program writes, stripped; None when it fails, is missing or takes too long."""
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program with all of its group, kindly first. Its output pipe may be read by another thread."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
