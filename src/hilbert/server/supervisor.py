"""The supervisor: holds the sockets, keeps the control process and the workers alive, reaps orphans; nothing else.

Single-threaded and synchronous: it sleeps in `sigtimedwait` until a child ends, a signal comes or a restart is due.

- `SIGTERM`, `SIGINT`: stop. Workers first (they finish the calls in their hands), then the control process, which
  stops the replicas. A second one ends everything at once.
- `SIGHUP`: rolling restart. The control process is replaced, then one worker after the other: the new one takes calls
  before the old one is told to finish.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.core.settings import Settings
from hilbert.dataplane.config import WorkerConfig
from hilbert.kit.process import adopt_orphans, spare
from hilbert.kit.retry import Pace
from hilbert.server import child, folders, log_keeper, sockets
from hilbert.server.config import ControlConfig
from hilbert.server.exits import START_FAILED
from hilbert.server.log_keeper import KeeperConfig

_SIGNALS: Final = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_RESTART: Final = Pace(first=0.05, most=5.0)
_STEADY_AFTER: Final = 10.0
"""Seconds of life after which a child's earlier failures are forgotten."""
_GIVE_UP_AFTER: Final = 5
"""Control processes in a row that were never ready, none before them either: starting makes no sense then."""
_READY_WITHIN: Final = 20.0
"""Seconds that a rolling restart waits for a new child before it goes on."""
_CONTROL_STOP_SLACK: Final = 15.0
"""Seconds beyond the replicas' grace that the control process has to end."""
_KEEPER_STOP: Final = 5.0
"""Seconds for the log keeper to empty all pipes and end."""

_log = structlog.get_logger("hilbert.supervisor")


@dataclass
class _Child:
    """A place in the family: what runs there now, and how often it has failed of late."""

    name: str
    module: str
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    """When to start it, on the monotonic clock; meaningful while `pid` is 0."""
    ready: int = -1
    """Read end of the pipe on which the running one says that it is ready."""
    false_starts: int = 0
    """How many in a row have ended without having been ready."""
    asked: bool = False
    """The running one has been asked to end."""
    retiring: set[int] = field(default_factory=set)
    """Pids of predecessors that are finishing their calls."""

    def has_been_ready(self) -> bool:
        """Whether the one that runs, or has just ended, has said that it is ready."""
        if self.ready < 0:
            return False
        readable, _, _ = select.select([self.ready], [], [], 0)
        return bool(readable) and bool(os.read(self.ready, 1))


class Supervisor:
    """Runs the platform until it is told to stop."""

    def __init__(self, settings: Settings, *, environ: dict[str, str]) -> None:
        """Open every socket. Raises `PortTaken`, `InvalidSettings`, `StorageFull` and `AlreadyRunning`."""
        self._settings = settings
        self._environ = environ
        self._state = Path(settings.paths.state_dir)
        self._run = Path(settings.paths.run_dir)
        self._started_at = datetime.now(UTC)
        gateway = settings.gateway
        _keep_config_descriptor_free()
        folders.prepare(settings.paths)
        self._locks = [
            folders.lock(self._state, key="paths.state_dir"),
            folders.lock(self._run, key="paths.run_dir"),  # Two states on one would answer each other's calls.
        ]
        count = gateway.workers or min(os.cpu_count() or 1, 8)
        self._public = sockets.listen_tcp(gateway.host, gateway.port, count=count, setting="gateway.port")
        self._metrics = sockets.listen_tcp(
            gateway.metrics_host, gateway.metrics_port, count=1, setting="gateway.metrics_port"
        )[0]
        self._control_socket = sockets.listen_unix(self._run / "control.sock")
        self._feed_socket = sockets.listen_unix(self._run / "feed.sock")
        self._logs_socket = sockets.listen_unix(self._run / log_keeper.SOCKET)
        self._keepers = [_Child("log keeper", "hilbert.server.log_keeper")] if settings.provider.name == "host" else []
        self._control = _Child("control", "hilbert.server.control")
        self._workers = [_Child(f"worker {n}", "hilbert.dataplane.worker") for n in range(count)]
        self._stopping = False
        self._was_ready = False
        """Whether a control process has ever been ready."""
        self._given_up = ""
        """Why it makes no sense to go on."""
        self._stop_status = 0

    @property
    def url(self) -> str:
        return sockets.url_of(self._public[0])

    def run(self) -> int:
        """Run until stopped; returns the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        adopt_orphans()
        with contextlib.suppress(PermissionError):
            spare()
        _log.info("starting", url=self.url, workers=len(self._workers), state=str(self._state))
        status = 0
        try:
            self._start_due()
            while not self._stopping:
                self._await_signal()
                if self._stopping:
                    break
                if self._given_up:
                    _log.error("giving up", reason=self._given_up)
                    status = START_FAILED
                    break
                self._start_due()
        finally:
            self._stop_all()
            self._leave()
        return status or self._stop_status

    def _family(self) -> list[_Child]:
        return [*self._keepers, self._control, *self._workers]

    def _await_signal(self) -> None:
        """Sleep until something happens, and act on it."""
        waits = [place.due - time.monotonic() for place in self._family() if not place.pid]
        info = signal.sigtimedwait(_SIGNALS, max(0.0, min(waits)) if waits else 3600.0)
        if info is None:
            return
        if info.si_signo == signal.SIGCHLD:
            self._reap()
        elif info.si_signo == signal.SIGHUP:
            self._roll()
        else:
            self._stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._family():
            if not place.pid and place.due <= now:
                self._start(place)

    def _start(self, place: _Child) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            if place is self._control:
                config = self._control_config(write_end)
                passed = [self._control_socket, self._feed_socket, self._metrics]
                descriptors = [*(sock.fileno() for sock in passed), write_end]
                document = msgspec.json.encode(config)
            elif place in self._keepers:
                descriptors = [self._logs_socket.fileno()]
                document = msgspec.json.encode(KeeperConfig(settings=self._settings, listen_fd=descriptors[0]))
            else:
                index = self._workers.index(place)
                document = msgspec.json.encode(self._worker_config(index, write_end))
                descriptors = [self._public[index].fileno(), write_end]
            place.pid = child.spawn(place.module, document, pass_fds=descriptors, environ=self._environ)
        finally:
            os.close(write_end)
        if place.ready >= 0:
            os.close(place.ready)
        place.ready = read_end
        place.started = time.monotonic()
        _log.debug("child started", child=place.name, pid=place.pid)

    def _control_config(self, ready_fd: int) -> ControlConfig:
        return ControlConfig(
            settings=self._settings,
            url=self.url,
            metrics_url=sockets.url_of(self._metrics),
            workers=len(self._workers),
            control_fd=self._control_socket.fileno(),
            feed_fd=self._feed_socket.fileno(),
            metrics_fd=self._metrics.fileno(),
            ready_fd=ready_fd,
            supervisor_pid=os.getpid(),
            started_at=self._started_at.isoformat(),
        )

    def _worker_config(self, index: int, ready_fd: int) -> WorkerConfig:
        return WorkerConfig(
            settings=self._settings,
            index=index,
            listen_fd=self._public[index].fileno(),
            feed_path=str(self._run / "feed.sock"),
            control_path=str(self._run / "control.sock"),
            inside_path=str(self._run / "inside.sock") if self._settings.provider.name == "host" else "",
            ready_fd=ready_fd,
        )

    def _reap(self) -> None:
        """Collect every child that has ended; orphaned replicas among them are collected and forgotten."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for place in self._family():
                if pid == place.pid:
                    self._ended(place, os.waitstatus_to_exitcode(status))
                else:
                    place.retiring.discard(pid)

    def _ended(self, place: _Child, code: int) -> None:
        now = time.monotonic()
        place.pid = 0
        if self._stopping:
            return
        if place.asked:
            place.asked = False
            _log.info("child ended as asked", child=place.name, status=code)
            return
        if place is self._control and code == START_FAILED:
            self._given_up = "the control process cannot start; the lines above say why"
            return
        ready = place.has_been_ready()
        place.false_starts = 0 if ready else place.false_starts + 1
        self._was_ready = self._was_ready or (place is self._control and ready)
        if place is self._control and not self._was_ready and place.false_starts > _GIVE_UP_AFTER:
            self._given_up = (
                f"the control process ended {place.false_starts} times before it was ready, last with status {code}; "
                "the lines above say why, and log.level=debug says more"
            )
            return
        place.failures = 0 if now - place.started > _STEADY_AFTER else place.failures + 1
        delay = _RESTART.delay(place.failures)
        place.due = now + delay
        _log.error("child died", child=place.name, status=code, restart_in=delay)

    def _roll(self) -> None:
        """Replace every child; no call is refused meanwhile."""
        _log.info("rolling restart")
        for place in self._keepers:
            if place.pid:
                place.asked = True
                self._kill(place.pid, signal.SIGTERM)
                self._wait_for_end(place, _KEEPER_STOP)
            self._start(place)
        if self._control.pid:
            self._control.asked = True
            self._kill(self._control.pid, signal.SIGHUP)  # To this child: stop, but leave the replicas running.
            self._wait_for_end(self._control, self._settings.provider.grace.seconds)
            self._start(self._control)
        for place in self._workers:
            old = place.pid
            self._start(place)
            self._wait_until_ready(place)
            if old:
                place.retiring.add(old)
                self._kill(old, signal.SIGTERM)

    def _wait_for_end(self, place: _Child, seconds: float) -> None:
        end = time.monotonic() + seconds
        pid = place.pid
        while place.pid == pid and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            self._reap()
        if place.pid == pid:
            self._kill(pid, signal.SIGKILL)
            place.retiring.add(pid)
        place.asked = False

    def _wait_until_ready(self, place: _Child) -> None:
        ready, _, _ = select.select([place.ready], [], [], _READY_WITHIN)
        if not ready or not os.read(place.ready, 1):
            _log.error("new child is not ready; going on", child=place.name)

    def _stop_all(self) -> None:
        self._stopping = True
        grace = self._settings.gateway.drain_timeout.seconds + 2
        self._stop(self._workers, grace)
        self._stop([self._control], self._settings.provider.grace.seconds + _CONTROL_STOP_SLACK)
        self._stop(self._keepers, _KEEPER_STOP)  # Last: replicas have last words.

    def _stop(self, places: Sequence[_Child], grace: float) -> None:
        """End these children politely, then by force; a second signal to stop shortens the wait to nothing."""
        live = {pid for place in places for pid in (place.pid, *place.retiring) if pid}
        for pid in live:
            self._kill(pid, signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end:
            self._reap()
            if not any(place.pid or place.retiring for place in places):
                return
            info = signal.sigtimedwait(_SIGNALS, 0.2)
            if info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT):
                break
        for place in places:
            for pid in (place.pid, *place.retiring):
                if pid:
                    _log.warning("child killed", child=place.name, pid=pid)
                    if place is self._control:
                        _log.error("replicas may be left running: the next start takes them back")
                        self._stop_status = 1
                    self._kill(pid, signal.SIGKILL)
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, 0)
            place.pid = 0
            place.retiring.clear()

    def _kill(self, pid: int, signum: signal.Signals) -> None:
        # Children are ours and not yet reaped, so the pid cannot have been given to another process.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)

    def _leave(self) -> None:
        (self._state / "gateway.json").unlink(missing_ok=True)
        for name in ("control.sock", "feed.sock", log_keeper.SOCKET):
            (self._run / name).unlink(missing_ok=True)
        opened: list[socket.socket] = [
            *self._public,
            self._metrics,
            self._control_socket,
            self._feed_socket,
            self._logs_socket,
        ]
        for sock in opened:
            sock.close()
        for lock in self._locks:
            os.close(lock)
        _log.info("stopped")


def _keep_config_descriptor_free() -> None:
    """Occupy the descriptor on which children find their configuration, so that no socket of ours gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) < child.CONFIG_FD:
        pass
    if descriptor > child.CONFIG_FD:
        os.close(descriptor)
