"""Starting and stopping the platform on this machine."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.cli.frame.failures import Failed, StartFailed
from hilbert.client import running
from hilbert.client.running import LocalGateway
from hilbert.client.sync import Client
from hilbert.core.environment import environment
from hilbert.core.errors import HilbertError

_MODULE: Final = "hilbert.server"
_READY_WITHIN: Final = 60.0
_POLL: Final = 0.05


def server_command(flags: Sequence[str]) -> list[str]:
    """The command that runs the platform in the foreground. `-P`: this folder's files are no modules of it."""
    return [sys.executable, "-P", "-m", _MODULE, *flags]


def run_in_foreground(flags: Sequence[str]) -> None:
    """Become the platform; does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, server_command(flags), dict(environment()))  # noqa: S606 - no shell wanted


def start_detached(flags: Sequence[str], state: Path) -> LocalGateway:
    """Start the platform in a session of its own and wait until it answers. Raises `StartFailed`."""
    log = state / "hilbert.log"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StartFailed(f"cannot write {log}: {exc.strerror}") from exc
    begin = os.fstat(descriptor).st_size
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            process = subprocess.Popen(
                server_command(flags),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                cwd="/",
                env=dict(environment()),
            )
        finally:
            os.close(descriptor)
        return _await_gateway(process, state, log, begin)
    except BaseException:
        # Interrupted or failed: nothing half started stays behind.
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        raise


def _await_gateway(process: subprocess.Popen[bytes], state: Path, log: Path, begin: int) -> LocalGateway:
    end = time.monotonic() + _READY_WITHIN
    while time.monotonic() < end:
        status = process.poll()
        if status is not None:
            message, hint = _last_words(log, begin)
            raise StartFailed(
                message or f"the platform exited with status {status}", hint=hint or f"see its log: {log}"
            )
        gateway = running.read(state)
        if gateway is not None and gateway.pid == process.pid and _answers(gateway):
            process.returncode = 0  # It outlives this command; nothing is to be collected.
            return gateway
        time.sleep(_POLL)
    raise StartFailed(f"the platform did not answer within {_READY_WITHIN:.0f} s", hint=f"see its log: {log}")


def _answers(gateway: LocalGateway) -> bool:
    try:
        with Client(gateway.url, timeout=2.0) as client:
            client.check_health()
    except HilbertError:
        return False
    return True


def _last_words(log: Path, begin: int) -> tuple[str, str]:
    """The newest line that says what went wrong, and its hint: `error:`, an error of the log, or of a traceback."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - 65536))
        lines = file.read().decode("utf-8", "replace").splitlines()
    hint = ""
    for line in reversed(lines):
        if line.startswith("hint: "):
            hint = hint or line.removeprefix("hint: ")
        elif line.startswith("error: "):
            return line.removeprefix("error: "), hint
        elif line.startswith("{"):
            entry = _entry(line)
            if entry.level == "error":
                return f"the platform did not start: {entry.reason or entry.event}", entry.hint
        elif line.strip():
            return f"the platform did not start: {line.strip()}", hint
    return "", ""


class _Entry(msgspec.Struct):
    """What matters here of a line of the platform's log."""

    level: str = ""
    event: str = ""
    reason: str = ""
    hint: str = ""


def _entry(line: str) -> _Entry:
    try:
        return msgspec.json.decode(line, type=_Entry)
    except msgspec.MsgspecError:
        return _Entry()


def stop(gateway: LocalGateway, *, within: float) -> bool:
    """End the platform and wait for it; False when it is not there. Raises `Failed` when it does not end in time.

    Its process is held by descriptor before it is looked at, so that no other process can be meant.
    """
    try:
        handle = os.pidfd_open(gateway.pid)
    except (ProcessLookupError, OSError):
        return False
    try:
        if not running.is_alive(gateway):
            return False
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
        except ProcessLookupError:
            return True
        except PermissionError as exc:
            raise Failed(f"the gateway (pid {gateway.pid}) belongs to another user") from exc
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(within * 1000):
            raise Failed(
                f"the gateway (pid {gateway.pid}) has not stopped after {within:.0f} s",
                hint="it is waiting for calls in flight; run 'hilbert down' again to keep waiting",
            )
        return True
    finally:
        os.close(handle)


class _Stopped(msgspec.Struct):
    """`stopped.json`, which a platform writes when its stop had to cut something off."""

    pid: int
    cut: list[str]


def cut_by_stop(gateway: LocalGateway, state: Path) -> list[str]:
    """What the stop of this gateway had to cut off, in words."""
    try:
        told = msgspec.json.decode((state / "stopped.json").read_bytes(), type=_Stopped)
    except (OSError, msgspec.MsgspecError):
        return []
    return told.cut if told.pid == gateway.pid else []


def sweep(state: Path, run: Path) -> int:
    """End replicas of a platform that does not run any more; returns how many there were. Raises `Failed`."""
    replicas = run / "r"
    if not replicas.is_dir() or not any(replicas.iterdir()):
        return 0
    command = [sys.executable, "-P", "-m", "hilbert.server.sweep", str(state), str(run)]
    done = subprocess.run(command, env=dict(environment()), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"cannot look for leftover replicas: {done.stderr.strip()}")
    return int(done.stdout)
