"""Small answers, latency, large bodies: the worker and its peers in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil

from bench import load, peers
from bench.report import Section
from hilbert.core.model import Endpoint
from support.dataplane import Plane


@contextlib.contextmanager
def hilbert(up: peers.Upstream, *, workers: int = 1):  # type: ignore[no-untyped-def]  # a context manager of (Plane, Peer)
    """Real workers with a route to each upstream."""
    plane = Plane(workers=workers, max_body="1Gi")
    try:
        plane.put("up", Endpoint("u", f"unix:{up.path}"))
        plane.put("sink", Endpoint("s", f"unix:{up.sink}"))
        for index, worker in enumerate(plane.workers):
            psutil.Process(worker.pid).cpu_affinity([(peers.MEASURED_CORE + index) % 2])
        yield plane, peers.Peer("Hilbert worker", plane.address[1], [worker.pid for worker in plane.workers])
    finally:
        plane.close()


def in_turn(
    rounds: int, candidates: list[peers.Peer], run: Callable[[peers.Peer], load.Result]
) -> dict[str, list[load.Result]]:
    """Every candidate once a round, so that what else the machine does falls on all alike."""
    found: dict[str, list[load.Result]] = {peer.name: [] for peer in candidates}
    for _ in range(rounds):
        for peer in candidates:
            found[peer.name].append(run(peer))
    return found


def _ratio(mine: list[load.Result], other: list[load.Result], what: Callable[[load.Result], float]) -> float:
    return load.median([what(a) / what(b) for a, b in zip(mine, other, strict=True)])


def small(candidates: list[peers.Peer], where: Path, *, rounds: int, seconds: float) -> list[Section]:
    """The same request again and again; and requests of which no two have the same head."""
    varied = where / "varied.lua"
    varied.write_text(
        "local n = 0\n"
        "function request()\n"
        "  n = n + 1\n"
        '  return wrk.format("GET", "/function/up?n=" .. n, {["X-Request-Id"] = "request-" .. n, ["Accept"] = "*/*",\n'
        '    ["User-Agent"] = "bench/1.0", ["Authorization"] = "Bearer 0123456789abcdef0123456789abcdef"})\n'
        "end\n"
    )
    setting = (
        "`wrk` with 32 kept connections; 12 bytes of answer from a static nginx over a unix socket. Each proxy is one process "
        "pinned to core 0; `wrk` and the upstream share core 1. All strip the path and set call id and forwarding headers. "
        "Ratios are the worker's rate over the peer's, round by round."
    )
    same = Section("Small GET", setting, _COLUMNS)
    other = Section(
        "Small GET, every head different",
        "The same with a query and a request id of its own in every request, and three more headers: the worker, which knows heads that come "
        "again by their bytes, must read each, of which most lines are known. Making the requests costs `wrk` time too, so the rates are lower for all.",
        _COLUMNS,
    )
    _rates(same, candidates, None, rounds=rounds, seconds=seconds)
    _rates(other, candidates, varied, rounds=rounds, seconds=seconds)
    return [same, other]


_COLUMNS = ["proxy", "requests/s", "p50", "p99", "processor µs/request", "ratio", "errors"]


def _rates(section: Section, candidates: list[peers.Peer], script: Path | None, *, rounds: int, seconds: float) -> None:
    found = in_turn(
        rounds,
        candidates,
        lambda peer: load.wrk(f"{peer.url}/function/up", seconds=seconds, script=script, pids=peer.pids),
    )
    mine = found[candidates[0].name]
    for peer in candidates:
        results = found[peer.name]
        section.rows.append(
            (
                peer.name,
                f"{load.median([one.rate for one in results]):,.0f}",
                f"{load.median([one.p50 for one in results]) * 1e3:.2f} ms",
                f"{load.median([one.p99 for one in results]) * 1e3:.2f} ms",
                f"{load.median([one.cpu for one in results]) * 1e6:.1f}",
                f"{_ratio(mine, results, lambda one: one.rate):.2f}",
                str(sum(one.errors for one in results)),
            )
        )


def bodies(candidates: list[peers.Peer], where: Path, *, rounds: int, seconds: float) -> Section:
    section = Section(
        "Large bodies",
        "`wrk` with 4 connections, down from nginx, up into a sink that reads everything. Memory is the proxy's resident size "
        "after its rounds, against that before.",
        ["what", "proxy", "MB/s", "ratio", "memory before", "after"],
    )
    for size, count in (("1m", 1 << 20), ("100m", 100 << 20)):
        script = where / f"up-{size}.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {count})\n')
        for way in ("down", "up"):
            before = {peer.name: peer.memory for peer in candidates}

            def run(
                peer: peers.Peer, way: str = way, size: str = size, script: Path = script, count: int = count
            ) -> load.Result:
                if way == "down":
                    return load.wrk(f"{peer.url}/function/up/{size}", connections=4, seconds=seconds)
                result = load.wrk(f"{peer.url}/function/sink", connections=4, seconds=seconds, script=script)
                result.bytes_rate = result.rate * count
                return result

            found = in_turn(rounds, candidates, run)
            mine = found[candidates[0].name]
            for peer in candidates:
                rates = [one.bytes_rate for one in found[peer.name]]
                section.rows.append(
                    (
                        f"{size[:-1]} MiB {way}",
                        peer.name,
                        f"{load.median(rates) / 1e6:,.0f}",
                        f"{_ratio(mine, found[peer.name], lambda one: one.bytes_rate or 1):.2f}",
                        f"{before[peer.name] / 1e6:.0f} MB",
                        f"{peer.memory / 1e6:.0f} MB",
                    )
                )
    return section


def added_latency(worker: peers.Peer, up: peers.Upstream, *, count: int) -> Section:
    direct, through = load.steady([up.port, worker.port], ["/", "/function/up"], rate=1000, count=count)
    section = Section(
        "Added latency",
        f"{count} requests directly to the upstream and {count} through the worker, alternating, 1,000 a second on schedule, one kept "
        "connection each, from a process on core 1 beside the upstream.",
        ["way", "p50", "p99"],
    )
    for name, values in (("direct", direct), ("through the worker", through)):
        section.rows.append(
            (name, f"{load.median(values) * 1e3:.3f} ms", f"{load.percentile(values, 0.99) * 1e3:.3f} ms")
        )
    median = load.median(through) - load.median(direct)
    tail = load.percentile(through, 0.99) - load.percentile(direct, 0.99)
    section.findings.append(f"Added: {median * 1e3:.3f} ms at the median, {tail * 1e3:.3f} ms at the 99th percentile.")
    return section


def two_workers(up: peers.Upstream, *, rounds: int, seconds: float) -> Section:
    section = Section(
        "Two workers",
        "One worker on core 0; two on cores 0 and 1, where `wrk` (64 connections) and the upstream must run too. With only two cores the "
        "rates cannot double, since the load itself takes most of one; so the processor time per request is given beside them: where it "
        "stays the same, a worker more is a worker's rate more.",
        ["workers", "requests/s", "processor µs/request"],
    )
    found: dict[int, list[load.Result]] = {1: [], 2: []}
    for _ in range(rounds):
        for count in (1, 2):
            with hilbert(up, workers=count) as (_, peer):
                found[count].append(
                    load.wrk(f"{peer.url}/function/up", connections=64, seconds=seconds, pids=peer.pids, core=None)
                )
    for count, results in found.items():
        section.rows.append(
            (
                str(count),
                f"{load.median([one.rate for one in results]):,.0f}",
                f"{load.median([one.cpu for one in results]) * 1e6:.1f}",
            )
        )
    one, two = (load.median([result.cpu for result in found[count]]) for count in (1, 2))
    section.findings.append(f"Capacity of two over one, by processor time: {2 * one / two:.2f}.")
    return section
