"""Recorded processes, run by the watchdog, and what each kind of run looks at."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from golden import raw
from golden.cases import Case
from golden.raw import Answer
from support.ports import held_port
from support.watchdog import Watchdog, until

TEMPLATES = ("of-watchdog", "classic-watchdog")

_RECORDED_PORT = "5000"
"""Where the recorded upstreams listen; each of ours gets a port of its own."""

_HEALTH = {"method": "GET", "target": "/_/health"}


@dataclass
class Replica(Watchdog):
    """A watchdog on a TCP port, as in a container, or on an inherited unix socket, as on one host."""

    port: int = field(default=0, init=False)
    _ports: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)

    def hold_port(self) -> int:
        """A port that is held until `close`."""
        return self._ports.enter_context(held_port())

    def close(self) -> None:
        super().close()
        self._ports.close()

    def listen(self, *, tcp: bool) -> Replica:
        if not tcp:
            self.start()
            return self
        self.port = self.hold_port()
        env = {"PATH": os.environ["PATH"], "port": str(self.port)} | dict(self.env)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until(lambda: self.ended is not None or self._answers(), what="the port")
        return self

    @property
    def ended(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def connect(self) -> socket.socket:
        if not self.port:
            return super().connect()
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def health(self) -> int | str:
        try:
            status = raw.send(self.connect(), _HEALTH)["status"]
        except OSError:
            return "refused"
        return "refused" if status is None else int(status)

    def _answers(self) -> bool:
        return self.health() != "refused"


@contextlib.contextmanager
def running(case: Case) -> Iterator[Replica | None]:
    """The function of a case; None if it has not started."""
    run = case.get("run", {})
    made = Replica({})
    try:
        made.env = _lay_out(case, made)
        made.listen(tcp=bool(run.keys() & {"lock", "term"} or "suppress_lock" in made.env))
        if not (run.get("nowait") or made.port):
            try:
                until(lambda: made.ended is not None or made._ready() != 503, what="readiness")
            except AssertionError:
                if made.ended is None and not _ends(made):
                    raise
        elif case["answer"].get("not_started"):
            made.wait(within=10)
        yield None if made.ended is not None else made
    finally:
        made.close()


def answer(replica: Replica, case: Case) -> Answer:
    """What the running function does in a case."""
    run, request = case.get("run", {}), case["request"]
    if "lock" in run:
        return {"lock_file": (replica.folder / "tmp" / ".lock").exists(), "health": replica.health()}
    if "term" in run:
        return _terminated(replica, case)
    if "overlap" in run:
        with _under_way(replica, request) as first:
            target = run.get("second", request["target"])
            second = raw.send(replica.connect(), request, target=target)
        return first | {"second": second}
    before = len(replica.texts)
    got = raw.send(replica.connect(), request)
    if run.get("linger") and case["answer"].get("function_ended"):
        got["function_ended"] = replica.wait(within=10)
    if run.keys() & {"log", "log_size"}:
        replica.terminate()
        replica.wait()
        got["log"] = [_clean(text) for text in replica.texts[before:]]
    return got


def _lay_out(case: Case, replica: Replica) -> dict[str, str]:
    folder, port = replica.folder, str(replica.hold_port())
    process = case["process"]
    for name, text in process["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(f", {_RECORDED_PORT})", f", {port})"))
        path.chmod(0o755)
    (folder / "tmp").mkdir()
    env = {"HOME": str(folder), "LANG": "C.UTF-8", "TMPDIR": str(folder / "tmp"), "HILBERT_BUNDLE": str(folder)}
    if process["command"]:
        env["fprocess"] = process["command"]
    if case["mode"] == "classic":
        env["HILBERT_MODE"] = "classic"
    given = {name: value.replace("@DIR@", str(folder)) for name, value in (case.get("env") or {}).items()}
    return env | {name: value.replace(f":{_RECORDED_PORT}", f":{port}") for name, value in given.items()}


def _ends(replica: Replica) -> bool:
    """A replica whose socket is closed already, and whose process is about to end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        replica.wait(within=10)
    return replica.ended is not None


def _terminated(replica: Replica, case: Case) -> Answer:
    with contextlib.ExitStack() as stack:
        busy = case["run"]["term"] == "busy"
        got: Answer = stack.enter_context(_under_way(replica, case["request"])) if busy else {"status": None}
        os.kill(replica.pid, signal.SIGTERM)
        until(lambda: replica.health() != 200, what="the end of health")
        health = replica.health()
    return got | {"health_after_sigterm": health, "exit": replica.wait()}


@contextlib.contextmanager
def _under_way(replica: Replica, request: dict[str, object]) -> Iterator[Answer]:
    """A request that the watchdog has taken; its answer is there at the end."""
    got: Answer = {}
    connection, sent = replica.connect(), threading.Event()
    caller = threading.Thread(target=lambda: got.update(raw.send(connection, request, sent=sent)))
    caller.start()
    try:
        assert sent.wait(20)
        for _ in range(3):  # Once these are answered, what was sent before them has been read.
            replica.health()
        yield got
    finally:
        caller.join(30)


def _clean(text: str) -> str:
    text = re.sub(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "<time> ", text)
    text = re.sub(r"\(\d+\.\d+s\)", "(<seconds>)", text)
    return re.sub(r"Duration: [\d.]+s", "Duration: <seconds>", text)
