"""The supervisor: holds the sockets, keeps the family alive, reaps orphans; nothing else.

Single-threaded and synchronous: it sleeps in `sigtimedwait` until a child ends, a signal comes or something is due.

- `SIGTERM`, `SIGINT`: stop. Workers first (they finish the calls in their hands), then the control process, which
  stops the replicas. A second one ends everything at once.
- `SIGHUP`: rolling restart with the package as it is installed now (`handover`). The control process is replaced, then
  one worker after the other: the new one takes calls before the old one is told to finish. Whoever cannot be replaced
  stays.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.core.settings import Settings
from hilbert.dataplane.config import WorkerConfig
from hilbert.kit.files import write_file
from hilbert.kit.pace import Pace
from hilbert.kit.process import adopt_orphans, spare
from hilbert.server import child, folders, handover, sweep
from hilbert.server.config import ControlConfig
from hilbert.server.exits import START_FAILED
from hilbert.server.handover import Handover
from hilbert.server.held import Held
from hilbert.server.log_keeper import KeeperConfig
from hilbert.server.member import Member, Place

_SIGNALS: Final = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_RESTART: Final = Pace(first=0.05, most=5.0)
_STEADY_AFTER: Final = 10.0
"""Seconds of life after which a child's earlier failures are forgotten."""
_GIVE_UP_AFTER: Final = 6
"""Failures in a row after which starting makes no sense, when no control process has ever been ready."""
_READY_WITHIN: Final = 30.0
"""Seconds that a rolling restart waits for a new child before it leaves things as they are."""
_CONTROL_STOP_SLACK: Final = 15.0
"""Seconds beyond the replicas' grace that the control process has to end."""
_KEEPER_STOP: Final = 5.0
"""Seconds for the log keeper to empty all pipes and end."""
_SWEEP_WITHIN: Final = 30.0

_WAITED_FOR: Final = 2
"""Failures in a row of the control process before requests for the REST API are refused."""

_LOOK_EVERY: Final = 1.0
"""Seconds between looks at the heartbeats."""
_LOOK_ROLLING: Final = 0.05
_STOPPED_AFTER: Final = 3.0
"""Seconds of silence after which a child that was stopped by a signal is told to go on."""
_DEAD_AFTER: Final = 15.0
"""Seconds of silence after which a child is replaced, whatever holds it up."""
_GENERATIONS: Final = 3
"""Predecessors of a worker that may finish long calls at the same time; before one more, the oldest is hurried."""

_log = structlog.get_logger("hilbert.supervisor")


class Supervisor:
    """Runs the platform until it is told to stop."""

    def __init__(self, settings: Settings, *, environ: dict[str, str], taken: Handover | None = None) -> None:
        """Open every socket, or take them over. Raises `PortTaken`, `InvalidSettings`, `StorageFull`, `AlreadyRunning`."""
        self._settings = settings
        self._environ = environ
        self._state = Path(settings.paths.state_dir)
        self._run = Path(settings.paths.run_dir)
        _keep_config_descriptor_free()
        self._held = Held.take(taken) if taken else Held.open(settings)
        self._delivery_secret = (taken.delivery_secret if taken else "") or secrets.token_hex(16)
        self._started_at = taken.started_at if taken else datetime.now(UTC).isoformat()
        self._served = taken is not None and taken.served
        if taken is None:
            (self._state / folders.STOPPED).unlink(missing_ok=True)
        self._keepers = [Place("log keeper", "hilbert.server.log_keeper")] if settings.provider.name == "host" else []
        self._control = Place("control process", "hilbert.server.control")
        self._workers = [Place(f"worker {n}", "hilbert.dataplane.worker") for n in range(len(self._held.public))]
        if taken is not None:
            held = {entry.name: entry for entry in taken.places}
            for place in self._family():
                if place.name in held:
                    handover.take(place, held[place.name])
        self._rolling: Generator[None, None, None] | None = self._replace_all() if taken else None
        self._roll_again = False
        self._trial = 0
        """Process id of a trial of the installed version, while it runs."""
        self._trial_status: int | None = None
        self._stopping = False
        self._looked = time.monotonic()
        self._status = 0
        self._cut: list[str] = []
        """What callers lost by the stop, in words."""

    @property
    def url(self) -> str:
        return self._held.url

    def run(self) -> int:
        """Run until stopped; returns the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        adopt_orphans()
        with contextlib.suppress(PermissionError):
            spare()
        if self._rolling is None:
            _log.info("starting", url=self.url, workers=len(self._workers), state=str(self._state))
        try:
            while not self._stopping:
                self._reap()
                self._look()
                if not self._stopping:
                    self._start_due()
                    self._advance()
                    self._await_signal()
        finally:
            self._stop_all()
            self._leave()
        return self._status

    def _family(self) -> list[Place]:
        return [*self._keepers, self._control, *self._workers]

    def _await_signal(self) -> None:
        """Sleep until something happens, and act on it."""
        now = time.monotonic()
        waits = [place.due - now for place in self._family() if place.is_vacant]
        most = _LOOK_ROLLING if self._rolling or not self._served else _LOOK_EVERY
        info = signal.sigtimedwait(_SIGNALS, max(0.0, min([most, *waits])))
        # Whoever was stopped and goes on may be told of a signal that there was not (CPython, an interrupted wait whose
        # time is over), so each is named.
        if info is not None and info.si_signo == signal.SIGHUP:
            self._roll_again = True
        elif info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True

    # Starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._family():
            if place.is_vacant and place.due <= now:
                place.current = self._start(place)

    def _start(self, place: Place) -> Member:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            line = theirs.fileno()
            if place is self._control:
                document = msgspec.json.encode(self._control_config(line))
                opened = [self._held.control, self._held.feed, self._held.metrics]
                passed = [sock.fileno() for sock in opened]
            elif place in self._keepers:
                passed = [self._held.logs.fileno()]
                document = msgspec.json.encode(
                    KeeperConfig(settings=self._settings, listen_fd=passed[0], lifeline_fd=line)
                )
            else:
                index = self._workers.index(place)
                passed = [self._held.public[index].fileno()]
                document = msgspec.json.encode(self._worker_config(index, line))
            pid = child.spawn(place.module, document, pass_fds=[*passed, line], environ=self._environ)
        _log.debug("child started", child=place.name, pid=pid)
        now = time.monotonic()
        return Member(pid, ours, started=now, heard=now)

    def _control_config(self, line: int) -> ControlConfig:
        return ControlConfig(
            settings=self._settings,
            url=self.url,
            metrics_url=self._held.metrics_url,
            workers=len(self._workers),
            control_fd=self._held.control.fileno(),
            feed_fd=self._held.feed.fileno(),
            metrics_fd=self._held.metrics.fileno(),
            delivery_secret=self._delivery_secret,
            lifeline_fd=line,
            supervisor_pid=os.getpid(),
            started_at=self._started_at,
        )

    def _worker_config(self, index: int, line: int) -> WorkerConfig:
        return WorkerConfig(
            settings=self._settings,
            index=index,
            workers=len(self._workers),
            listen_fd=self._held.public[index].fileno(),
            feed_path=str(self._run / "feed.sock"),
            control_path=str(self._run / "control.sock"),
            inside_path=str(self._run / "inside.sock") if self._settings.provider.name == "host" else "",
            delivery_secret=self._delivery_secret,
            lifeline_fd=line,
        )

    # Watching

    def _reap(self) -> None:
        """Collect every child that has ended; orphaned replicas among them are collected and forgotten."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._trial:
                self._trial, self._trial_status = 0, os.waitstatus_to_exitcode(status)
            for place in self._family():
                was_current = place.current is not None and place.current.pid == pid
                for member in place.members():
                    if member.pid == pid:
                        self._hear(place, member, time.monotonic())
                ended = place.remove(pid)
                if ended is not None:
                    self._ended(place, ended, os.waitstatus_to_exitcode(status), was_current=was_current)

    def _ended(self, place: Place, member: Member, code: int, *, was_current: bool) -> None:
        if self._stopping or member.leaving or not was_current:
            return
        now = time.monotonic()
        place.failures = 0 if now - member.started > _STEADY_AFTER else place.failures + 1
        delay = _RESTART.delay(place.failures)
        place.due = now + delay
        if place is self._control and not self._served and (code == START_FAILED or place.failures >= _GIVE_UP_AFTER):
            self._give_up(code)
        else:
            _log.error("child ended", child=place.name, status=code, restart_in=delay)

    def _give_up(self, code: int) -> None:
        if code != START_FAILED:  # Else the control process has said why.
            _log.error(
                "cannot start",
                reason=f"the control process ended {_GIVE_UP_AFTER} times before it was ready, last with status {code}",
                hint="the lines above say why; run 'hilbert doctor', and 'hilbert up' once the cause is fixed",
            )
        self._status = START_FAILED
        self._stopping = True

    def _look(self) -> None:
        """Hear what the children have said, and deal with those that have been silent for too long."""
        now = time.monotonic()
        late = now - self._looked > _STOPPED_AFTER  # We were held up ourselves, perhaps all of us together.
        self._looked = now
        for place in self._family():
            for member in list(place.members()):
                self._hear(place, member, now)
                if late:
                    member.heard = now
                silent = now - member.heard
                if silent > _STOPPED_AFTER and not member.woken and member.is_stopped:
                    _log.warning(
                        "a child process had been stopped and was resumed",
                        child=place.name,
                        pid=member.pid,
                        silent=silent,
                    )
                    member.woken = True
                    member.signal(signal.SIGCONT)
                if silent > (_DEAD_AFTER if member.ready else _DEAD_AFTER + _READY_WITHIN):
                    _log.error(
                        "a child process does not respond and is replaced",
                        child=place.name,
                        pid=member.pid,
                        silent=silent,
                    )
                    member.heard = now
                    member.signal(signal.SIGKILL)

        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        """Let nobody wait for a control process that keeps failing: the workers answer 503 when they are hung up on."""
        if self._control.current is not None or self._control.failures < _WAITED_FOR:
            return
        with contextlib.suppress(OSError):
            while True:
                self._held.control.accept()[0].close()

    def _hear(self, place: Place, member: Member, now: float) -> None:
        for text in member.listen(now):
            if self._stopping:
                self._cut.append(text)
        if member.ready and place is self._control:
            self._served = True

    # Replacing

    def _advance(self) -> None:
        """Go on with a rolling restart, or begin one that was asked for."""
        if self._rolling is None and self._roll_again:
            self._roll_again = False
            self._rolling = self._hand_over()
        if self._rolling is not None:
            try:
                next(self._rolling)
            except StopIteration:
                self._rolling = None

    def _hand_over(self) -> Generator[None, None, None]:
        """Become the installed version, if a trial shows that it can take over."""
        _log.info("rolling restart")
        self._trial_status = None
        self._trial = child.spawn(
            handover.__name__, msgspec.json.encode(self._packed()), pass_fds=(), environ=self._environ
        )
        end = time.monotonic() + _READY_WITHIN
        while self._trial_status is None:
            if time.monotonic() > end:
                os.kill(self._trial, signal.SIGKILL)
            yield
        if self._trial_status != 0:
            _log.error(
                "rolling restart refused",
                reason="the installed version of Hilbert cannot take over from the running one, which keeps running",
                hint="the lines above say why; install it again and repeat, or use 'hilbert down' and 'hilbert up'",
            )
            return
        handover.become(self._packed())

    def _packed(self) -> Handover:
        return Handover(
            settings=self._settings,
            started_at=self._started_at,
            served=self._served,
            lock_fds=tuple(self._held.locks),
            public_fds=tuple(sock.fileno() for sock in self._held.public),
            metrics_fd=self._held.metrics.fileno(),
            control_fd=self._held.control.fileno(),
            feed_fd=self._held.feed.fileno(),
            logs_fd=self._held.logs.fileno(),
            places=tuple(map(handover.hold, self._family())),
            delivery_secret=self._delivery_secret,
        )

    def _replace_all(self) -> Generator[None, None, None]:
        """Replace every child; no call is refused meanwhile."""
        for place in [*self._keepers, self._control]:
            yield from self._replace(place)
        if not self._control.current or not self._control.current.ready:
            _log.error(
                "rolling restart stopped",
                reason="the new control process is not ready; functions are served by the old workers",
                hint="the lines above say why",
            )
            return
        for place in self._workers:
            yield from self._succeed(place)
        _log.info("rolling restart done")

    def _replace(self, place: Place) -> Generator[None, None, None]:
        """End the member of a place that only one can have, then start another, and wait until it is ready."""
        if (old := place.current) is not None:
            old.leaving = True
            # To the control process `SIGHUP` means: stop, but leave the replicas running.
            old.signal(signal.SIGHUP if place is self._control else signal.SIGTERM)
            end = time.monotonic() + (_CONTROL_STOP_SLACK if place is self._control else _KEEPER_STOP)
            while place.current is old:
                if time.monotonic() > end:
                    old.signal(signal.SIGKILL)
                yield
        place.failures, place.due = 0, 0.0
        end = time.monotonic() + _READY_WITHIN
        while time.monotonic() < end and not (place.current and place.current.ready):
            yield  # It is started, and started again, as after any end.

    def _succeed(self, place: Place) -> Generator[None, None, None]:
        """Start a worker beside the one that serves, and let it take over once it is ready."""
        successor = place.successor = self._start(place)
        end = time.monotonic() + _READY_WITHIN
        while place.successor is successor and not successor.ready and time.monotonic() < end:
            yield
        if place.successor is not successor or not successor.ready:
            _log.error("the new child process is not ready; the old one stays", child=place.name)
            if place.successor is successor:
                successor.signal(signal.SIGKILL)
            while place.successor is successor:
                yield
            return
        place.successor, old, place.current = None, place.current, successor
        if old is not None:
            old.leaving = True
            old.signal(signal.SIGHUP)  # To a worker: finish your calls, however long they take.
            place.retiring.append(old)
        for surplus in place.retiring[:-_GENERATIONS]:
            surplus.signal(signal.SIGTERM)

    # Stopping

    def _stop_all(self) -> None:
        self._stopping = True
        drain = self._settings.gateway.drain_timeout.seconds + 2
        grace = self._settings.provider.grace.seconds + _CONTROL_STOP_SLACK
        hurry = self._stop(self._workers, drain, hurry=False)
        hurry = self._stop([self._control], grace, hurry=hurry)
        self._sweep()
        self._stop(self._keepers, _KEEPER_STOP, hurry=hurry)  # Last: replicas have last words.

    def _stop(self, places: Sequence[Place], grace: float, *, hurry: bool) -> bool:
        """End these children politely, then by force. A second signal to stop shortens all waits to almost nothing.

        Returns whether there was one.
        """
        for place in places:
            for member in place.members():
                member.leaving = True
                member.signal(signal.SIGTERM)
                member.signal(signal.SIGCONT)
        end = time.monotonic() + (1.0 if hurry else grace)
        while time.monotonic() < end:
            self._reap()
            if not any(True for place in places for _ in place.members()):
                return hurry
            info = signal.sigtimedwait(_SIGNALS, 0.2)
            if info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT):
                hurry = True
                break
        for place in places:
            for member in place.members():
                _log.warning("child killed", child=place.name, pid=member.pid)
                self._cut.append(f"the {place.name}, which had not ended in time")
                member.signal(signal.SIGKILL)
        while any(True for place in places for _ in place.members()):
            self._reap()
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        return hurry

    def _sweep(self) -> None:
        """End replicas that the control process has left, if there are any."""
        rest = self._run / "r"
        if self._settings.provider.name != "host" or not rest.is_dir() or not any(rest.iterdir()):
            return
        command = [sys.executable, "-P", "-m", sweep.__name__, str(self._state), str(self._run), sweep.HELD]
        try:
            done = subprocess.run(
                command, env=self._environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_SWEEP_WITHIN
            )
            ended = int(done.stdout or b"0")
        except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
            _log.error("replicas may be left running", reason=str(exc))
            self._cut.append("replicas may be left running; 'hilbert down' looks for them again")
            return
        if ended:
            _log.warning("replicas killed", count=ended)
            self._cut.append(f"{ended} replica{'s' * (ended > 1)}, which the control process had not stopped")

    def _leave(self) -> None:
        (self._state / "gateway.json").unlink(missing_ok=True)
        if self._cut:
            try:
                write_file(self._state / folders.STOPPED, msgspec.json.encode({"pid": os.getpid(), "cut": self._cut}))
            except OSError as exc:
                _log.warning("cannot tell 'hilbert down' what was cut", reason=str(exc))
        self._held.close(self._run)
        _log.info("stopped", cut=self._cut)


def _keep_config_descriptor_free() -> None:
    """Occupy the descriptor on which children find their configuration, so that no socket of ours gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) < child.CONFIG_FD:
        pass
    if descriptor > child.CONFIG_FD:
        os.close(descriptor)
