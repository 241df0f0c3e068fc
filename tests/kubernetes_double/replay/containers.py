"""What the containers of the transcripts did, told to the double's kubelet step by step."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kubernetes_double.controllers.scripts import Outcome
from kubernetes_double.serving.status import Json

if TYPE_CHECKING:
    from kubernetes_double.replay.runner import Replay


def _by_name(run: Replay, outcomes: dict[str, Outcome]) -> None:
    run.server.images.rules.append(lambda pod: outcomes.get(pod["metadata"]["name"]))


async def crash_oom(run: Replay, number: int, step: Json) -> None:
    if number == 0:
        missing = (
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
            'unable to start container process: exec: "/no/such/binary": stat /no/such/binary: no such file or directory'
        )
        outcomes = {
            "crash": Outcome(exits=(3,), runs=0.05, log=("about to fail",)),
            "oom": Outcome(exits=(137,), oom=True, runs=0.05),
            "failed": Outcome(exits=(7,), runs=0.05),
            "done": Outcome(exits=(0,), runs=0.05),
            "nocmd": Outcome(start_error=missing),
        }
        _by_name(run, outcomes)


async def pending(run: Replay, number: int, step: Json) -> None:
    if number == 0:
        outcomes = {
            "unready": Outcome(ready=False, stop_code=2),
            "slow": Outcome(ready_after=0.3, stop_code=2),
            "dead": Outcome(exits=(2,), runs=0.1, killed=True),
        }
        _by_name(run, outcomes)


async def log_lines(run: Replay, number: int, step: Json) -> None:
    """The lines in the order of the transcript; those that `sinceSeconds` leaves out are put into the past."""
    kubelet = run.server.kubelet
    if number == 0:
        outcomes = {
            "ticker": Outcome(exits=(4,), runs=2.0),
            "crash": Outcome(exits=(1,), runs=0.05, log=("run of 2",)),
        }
        _by_name(run, outcomes)
        run.server.pace.start = 0.2
    lines = {
        4: (("line 1", 9.0), ("err 1", 9.0), ("line 2", 8.0), ("err 2", 8.0)),
        7: (("err 3", 5.0), ("line 3", 5.0), ("line 4", 0.0), ("err 4", 0.0), ("err 5", 0.0), ("line 5", 0.0)),
        20: tuple((f"{word} {count}", 0.0) for count in range(6, 13) for word in ("line", "err")),
    }
    if number == 4:
        await _started(run, "ticker")
    ticker = run.server.object("pods", "ticker", "rec-logs")
    if ticker is not None:
        log = kubelet.log(ticker["metadata"]["uid"], "main")
        for text, ago in lines.get(number, ()):
            log.write(text, at=datetime.now(UTC) - timedelta(seconds=ago))
        if number == 20:
            log.write("no newline at the end", end="")
    if number == 31:
        await _started(run, "two")
        two = run.server.object("pods", "two", "rec-logs")
        if two is not None:
            kubelet.log(two["metadata"]["uid"], "side").write("side")


async def _started(run: Replay, name: str) -> None:
    for _ in range(300):
        pod = run.server.object("pods", name, "rec-logs")
        if pod is not None and pod["status"].get("phase") == "Running":
            return
        await asyncio.sleep(0.01)
