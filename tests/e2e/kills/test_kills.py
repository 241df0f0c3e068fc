"""Random kills, stops and restarts of every process under calls and API writes: nothing acknowledged is lost.

`HILBERT_KILL_ROUNDS=200` makes it longer, `HILBERT_KILL_SEED=N` repeats a run. The end of every run says its seed, also when
it has failed.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

import psutil
import pytest

from hilbert.providers.host.store import stored_handles
from support.load import SteadyLoad
from support.platform import Platform, running, until

ROUNDS: Final = int(os.environ.get("HILBERT_KILL_ROUNDS", "20"))
SEED: Final = int(os.environ.get("HILBERT_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

CHILDREN: Final = {
    "control process": "hilbert.server.control",
    "worker": "hilbert.dataplane.worker",
    "log keeper": "hilbert.server.log_keeper",
}
HARMLESS: Final = ("control process", "log keeper")
"""Whose end costs no call."""


class Writer:
    """Changes secrets and functions through the API without end, and remembers what was acknowledged."""

    def __init__(self, platform: Platform, rng: random.Random) -> None:
        self._platform = platform
        self._rng = rng
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.there: dict[tuple[str, str], bool] = {}
        """What was acknowledged: whether it is there. Without an answer, nothing is known of it."""
        self.acknowledged = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _write(self) -> None:
        while not self._stop.is_set():
            kind = self._rng.choice(("secrets", "functions"))
            name = f"{kind[0]}{self._rng.randrange(12)}"
            known = self.there.pop((kind, name), None)
            wanted = not known if known is not None else self._rng.random() < 0.5
            if self._send(kind, name, wanted=wanted):
                self.there[kind, name] = wanted
                self.acknowledged += 1
            self._stop.wait(0.01)

    def _send(self, kind: str, name: str, *, wanted: bool) -> bool:
        """Whether it was answered with a yes; a creation of what is there and a removal of what is not say as much."""
        path = f"/system/{kind}"
        body: dict[str, object]
        if kind == "secrets":
            body = {"name": name, "value": "v"} if wanted else {"name": name}
        elif wanted:
            body = {"service": name, "image": "functions/alpine:latest", "envProcess": "cat"}
            body["labels"] = {"com.openfaas.scale.min": "0"}
        else:
            body = {"functionName": name}
        try:
            answer = self._platform.api("POST" if wanted else "DELETE", path, body)
        except (OSError, ValueError):
            return False
        return (
            answer.status in (200, 201, 202)
            or (answer.status == 409 and wanted)
            or (answer.status == 404 and not wanted)
        )

    def check(self) -> None:
        """Compare with what the platform says now. Call it while nothing is written."""
        for kind in ("secrets", "functions"):
            listed = self._platform.api("GET", f"/system/{kind}")
            assert listed.status == 200, listed.text
            for (of, name), there in self.there.items():
                if of == kind:
                    assert (f'"{name}"' in listed.text) == there, (
                        f"{kind} {name}: acknowledged as {there}\n{listed.text}"
                    )


def suspended(process: psutil.Process, seconds: float) -> None:
    """Stop a process for a while."""
    process.suspend()
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, what="some time to pass")
    process.resume()


class Round:
    """One round: what is done to whom, and how many calls of which function that may cost."""

    def __init__(self, platform: Platform, rng: random.Random, number: int) -> None:
        self.platform = platform
        victims = [*CHILDREN, "replica", "supervisor"]
        # Each of the common cases comes in any run, whatever the seed.
        self.victim = victims[number % len(victims)] if number < len(victims) else rng.choice(victims)
        self.action = "kill" if number < len(victims) else rng.choice(("kill", "stop", "hang up"))
        self.seconds = rng.uniform(0.05, 0.5)
        self.choice = rng.randrange(1 << 16)
        self.pause = rng.uniform(0.0, 0.2)

    def __str__(self) -> str:
        return self.action if self.action == "hang up" else f"{self.action} {self.victim}"

    @property
    def cost(self) -> tuple[int, int]:
        """Calls of the function whose replica may be hit, and of the other, that may be lost; -1: any number."""
        if self.action != "kill" or self.victim in HARMLESS:
            return 0, 0
        if self.victim == "supervisor":
            return -1, -1
        return (4, 4) if self.victim == "worker" else (4, 0)

    def find(self) -> psutil.Process:
        assert self.platform.process is not None
        if self.victim == "supervisor":
            return psutil.Process(self.platform.process.pid)
        if self.victim == "replica":
            handles = stored_handles(self.platform.state / "hilbert.db")
            pids = {
                int(handle.data["pid"]) for handle in handles if handle.ref.name == "victim" and "pid" in handle.data
            }
            (replica, *_) = [
                one for one in self.platform.replicas() if pids & {one.pid, *(p.pid for p in one.parents())}
            ]
            return replica
        found: list[psutil.Process] = []
        until(lambda: found.extend(self.platform.children(CHILDREN[self.victim])) or found, what=self.victim)
        return found[self.choice % len(found)]

    def act(self) -> None:
        end = time.monotonic() + self.pause
        until(lambda: time.monotonic() > end, what="some time to pass")
        assert self.platform.process is not None
        if self.action == "hang up":
            done = self.platform.log.count('"rolling restart done"')
            self.platform.process.send_signal(signal.SIGHUP)
            until(
                lambda: self.platform.log.count('"rolling restart done"') > done,
                within=60,
                what="the rolling restart",
                log=lambda: self.platform.log,
            )
        elif self.action == "stop":
            suspended(self.find(), self.seconds)
        else:
            self.find().kill()
            if self.victim == "supervisor":
                self.platform.process.wait(20)
                self.platform.start()


def recovered(platform: Platform) -> bool:
    try:
        return (
            platform.api("GET", "/system/functions").status == 200
            and platform.call("/function/victim", b"x").body == b"x"
            and platform.call("/function/other", b"x").body == b"x"
            and len(platform.children(CHILDREN["worker"])) == 2
        )
    except (OSError, ValueError):
        return False


def failures(load: SteadyLoad, most: int, what: Callable[[], str]) -> None:
    assert most < 0 or len(load.failures) <= most, f"{what()}: {len(load.failures)} calls failed: {load.failures[:6]}"


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_nothing_acknowledged_is_lost(record_property: Callable[[str, object], None]) -> None:
    record_property("kills", f"{ROUNDS} rounds, HILBERT_KILL_SEED={SEED}")
    rng = random.Random(SEED)
    with running("gateway.workers=2", "provider.drain_delay=200ms") as platform:
        for name in ("victim", "other"):
            answer = platform.api(
                "POST",
                "/system/functions",
                {"service": name, "image": "functions/alpine:latest", "envProcess": "cat", "envVars": {"who": name}},
            )
            assert answer.status == 202, answer.text
        until(lambda: recovered(platform), what="the functions", within=60, log=lambda: platform.log)
        there: dict[tuple[str, str], bool] = {}
        acknowledged = calls = failed = 0
        for number in range(ROUNDS):
            turn = Round(platform, rng, number)
            loads = [
                SteadyLoad(f"{platform.url}/function/{name}", threads=4, body=b"x") for name in ("victim", "other")
            ]
            with Writer(platform, random.Random(rng.random())) as writer:
                writer.there.update(there)
                with loads[0].on(), loads[1].on():
                    turn.act()
            until(lambda: recovered(platform), what=f"to recover from {turn}", within=60, log=lambda: platform.log)
            writer.check()
            there, acknowledged = writer.there, acknowledged + writer.acknowledged
            calls += sum(load.calls for load in loads)
            failed += sum(len(load.failures) for load in loads)
            for load, most in zip(loads, turn.cost, strict=True):
                failures(load, most, lambda turn=turn, number=number: f"seed {SEED}, round {number}, {turn}")  # type: ignore[misc]
        assert acknowledged > ROUNDS
        record_property(
            "kills", f"{acknowledged:,} changes acknowledged, none lost; {calls:,} calls, {failed:,} failed"
        )
        assert platform.stop() == 0
        until(lambda: not platform.processes(), within=5, what="every process to end", log=lambda: platform.log)
        left = [path for path in (platform.folder / "r").rglob("*") if not path.is_dir() and path.name != "lock"]
        assert not left, left
