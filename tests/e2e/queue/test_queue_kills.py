"""Processes are killed at random while clients queue calls: each acknowledged call runs, and has exactly one end.

`HILBERT_QUEUE_ROUNDS=1000` makes it longer, `HILBERT_QUEUE_SEED=N` repeats a run. The end of every run says its seed, also
when it has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import psutil
import pytest
import urllib3

from hilbert.control.delivery.request import QueuedAnswer
from hilbert.core.ports.queue import CallRecord, CallState
from hilbert.core.values import NamespaceName
from hilbert.queues.sqlite import SqliteQueue
from support.platform import Platform, running, until
from support.queue_history import Acknowledged, verdict

ROUNDS: Final = int(os.environ.get("HILBERT_QUEUE_ROUNDS", "50"))
SEED: Final = int(os.environ.get("HILBERT_QUEUE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
VICTIMS: Final = {"worker": 6, "control": 5, "supervisor": 1, "all": 1}
"""How often each is chosen: a new platform takes seconds to start."""
MODULES: Final = {"worker": "hilbert.dataplane.worker", "control": "hilbert.server.control"}
CLIENTS: Final = 4
FUNCTIONS: Final = {"digest": "sha256sum", "broken": "false"}
NEEDED: Final = {"digest": 1, "broken": 2}
SLACK: Final = 30.0
"""Seconds for which a kill is felt: by calls that were put while the platform came back."""


class Client:
    """Queues one call after the other, and remembers what it was told."""

    def __init__(self, platform: Platform, name: str, rng: random.Random) -> None:
        self._platform = platform
        self._name = name
        self._rng = rng
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(20))
        self.told: list[Acknowledged] = []
        self.answers: Counter[str] = Counter()

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(60)
            self._pool.clear()

    def _work(self) -> None:
        for number in itertools.count():
            if self._stop.wait(0.02):
                return
            function = "broken" if self._rng.random() < 0.1 else "digest"
            body = f"{self._name}-{number}".encode()
            key = f"key-{self._name}-{number}" if self._rng.random() < 0.5 else ""
            call = self._put(function, body, key)
            while call is None and key and not self._stop.wait(0.05):
                call = self._put(function, body, key)
            if call is None:
                continue
            if function == "digest":
                answer = hashlib.sha256(body).hexdigest().encode() + b"  -\n"
                self.told.append(Acknowledged(call, answer, CallState.SUCCEEDED, once=bool(key)))
            else:
                self.told.append(Acknowledged(call, b"500", CallState.DEAD, once=False))

    def _put(self, function: str, body: bytes, key: str) -> str | None:
        """The call's id; None without a promise."""
        headers = {"Idempotency-Key": key} if key else {}
        try:
            url = f"{self._platform.url}/async-function/{function}"
            answer = self._pool.request("POST", url, body=body, headers=headers)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as exc:
            self.answers[type(exc).__name__] += 1
            return None
        self.answers[str(answer.status)] += 1
        return answer.headers["X-Call-Id"] if answer.status == 202 else None


def kill(platform: Platform, victim: str, rng: random.Random) -> bool:
    """Whether there was one to kill."""
    assert platform.process is not None
    if victim == "all":
        platform.kill_everything()
        platform.start()
    elif victim == "supervisor":
        platform.process.kill()
        platform.process.wait(20)
        platform.start()
    else:
        children = platform.children(MODULES[victim])
        if not children:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(children).kill()
    return True


def after_some_calls(clients: Sequence[Client], seconds: float, platform: Platform) -> None:
    """Wait until more calls were accepted, and then some time."""

    def told() -> int:
        return sum(len(client.told) for client in clients)

    target = told() + len(clients)
    until(lambda: told() >= target, within=60, what="calls to be accepted", log=lambda: platform.log)
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, what="some time to pass")


def waiting(platform: Platform) -> int:
    """Calls that have not ended."""
    answer = platform.api("GET", "/system/async/queues")
    if answer.status != 200:
        return -1
    return sum(queue["pending"] + queue["inFlight"] for queue in json.loads(answer.body))


async def kept(platform: Platform) -> dict[str, tuple[CallRecord, bytes]]:
    """All that the queue's file holds, with the functions' last answers. The platform must have ended."""
    queue = await SqliteQueue.open(platform.state / "queue", reserve_bytes=0)
    space = NamespaceName("openfaas-fn")
    found = {}
    try:
        for record in await queue.list_calls(space, limit=10_000_000):
            whole = await queue.look_up(space, record.id, now=time.time())
            answer = QueuedAnswer.load(whole.answer) if whole.answer else QueuedAnswer(0, (), b"")
            found[record.id] = whole, answer.body if answer.status == 200 else b"%d" % answer.status
        for counts in await queue.counts():
            assert counts.accepted == counts.finished + counts.dead, counts
    finally:
        queue.close()
    return found


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_every_acknowledged_call_runs_and_ends_once(record_property: Callable[[str, object], None]) -> None:
    record_property("queue", f"{ROUNDS} rounds, HILBERT_QUEUE_SEED={SEED}")
    rng = random.Random(SEED)
    with running("gateway.workers=2", "provider.drain_delay=50ms") as platform:
        for name, process in FUNCTIONS.items():
            kept_for = {"com.hilbert.async.results": "24h", "com.openfaas.retry.min_wait": "100ms"}
            if name == "broken":
                kept_for["com.openfaas.retry.attempts"] = str(NEEDED[name])
            spec = {"service": name, "image": "functions/alpine:latest", "envProcess": process, "annotations": kept_for}
            answer = platform.api("POST", "/system/functions", spec)
            assert answer.status == 202, answer.text
        clients = [Client(platform, f"{number}", random.Random(rng.random())) for number in range(CLIENTS)]
        kills: list[float] = []
        killed: Counter[str] = Counter()

        with contextlib.ExitStack() as stack:
            for client in clients:
                stack.enter_context(client.on())
            for number in range(ROUNDS):
                after_some_calls(clients, rng.uniform(0, 0.1), platform)
                # Each victim comes in any run, whatever the seed.
                order = list(VICTIMS)
                victim = order[number] if number < len(order) else rng.choices(order, list(VICTIMS.values()))[0]
                kills.append(time.time())
                killed[victim] += kill(platform, victim, rng)
        until(lambda: waiting(platform) == 0, within=120, what="all calls to end", log=lambda: platform.log)
        assert platform.stop() == 0
        history = [call for client in clients for call in client.told]
        found = verdict(history, asyncio.run(kept(platform)), kills, needed=NEEDED, slack=SLACK)
        assert not found.wrong, f"seed {SEED}: {len(found.wrong)} promises broken: {found.wrong[:6]}"
        assert len(history) > ROUNDS
        answers = sum((client.answers for client in clients), Counter())
        refused = {name: count for name, count in answers.items() if name != "202"}
        record_property(
            "queue",
            f"killed {dict(killed)}: {len(history):,} calls acknowledged, none lost, each with one end; "
            f"{found.again:,} were attempted {found.attempts:,} times more than they needed, each explained by a kill; "
            f"{found.unknown:,} of them ended with their last attempt broken off; {found.unheard:,} more were accepted whose answer was lost; refused or broken off: {refused}",
        )
