"""Whether cost grows with the platform: ten thousand routes in a thousand namespaces."""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench import load, peers
from bench.proxying import hilbert
from bench.report import Section
from hilbert.core.model import Endpoint, Route
from hilbert.dataplane.totals import Totals

NAMESPACES = 1000
ROUTES = 10_000


def routes(up: peers.Upstream) -> list[Route]:
    """Ten functions in each namespace, each with a replica of its own name."""
    return [
        Route(
            f"tenant-{number % NAMESPACES:04}",
            f"function-{number // NAMESPACES:02}",
            (Endpoint(f"r{number}", f"unix:{up.path}"),),
        )
        for number in range(ROUTES)
    ]


def growth(up: peers.Upstream, where: Path, *, rounds: int, seconds: float) -> Section:
    """Rate with one route and with ten thousand, memory for each, time of a change."""
    many = routes(up)
    paths = [f"/function/{route.name}.{route.namespace}" for route in random.sample(many, 1000)]
    for name, lines in (("many", paths), ("one", [f"/function/up?{path}" for path in paths])):
        (where / f"{name}.lua").write_text(
            "local r = {}\n" + "".join(f'r[#r+1] = wrk.format("GET", "{path}")\n' for path in lines) + "local n = 0\n"
            "function request() n = n % #r + 1; return r[n] end\n"
        )
    section = Section(
        "Ten thousand functions",
        f"{ROUTES:,} routes in {NAMESPACES:,} namespaces. The rate is that of calls to 1,000 of them in turn, against 1,000 queries to the only "
        "function of a table of one; each function has a replica of its own, so that first calls open connections, which a round before "
        "the first has done.",
        ["table", "requests/s", "p99"],
    )
    with hilbert(up) as (small, one), hilbert(up) as (large, all_of_them):
        before = large.memory()
        large.run(large.feed.reset, [*large.feed._routes.values(), *many])
        large.settle()
        grown = large.memory() - before
        found: dict[str, list[load.Result]] = {"one": [], "many": []}
        for number in range(rounds + 1):
            for name, peer in (("one", one), ("many", all_of_them)):
                result = load.wrk(f"{peer.url}/", seconds=seconds, script=where / f"{name}.lua", pids=peer.pids)
                if number:
                    found[name].append(result)
        for name, title in (("one", "1 function"), ("many", f"{ROUTES:,} functions")):
            results = found[name]
            section.rows.append(
                (
                    title,
                    f"{load.median([r.rate for r in results]):,.0f}",
                    f"{load.median([r.p99 for r in results]) * 1e3:.2f} ms",
                )
            )
        ratio = load.median([a.rate / b.rate for a, b in zip(found["many"], found["one"], strict=True)])
        cpu = load.median([a.cpu / b.cpu for a, b in zip(found["many"], found["one"], strict=True)])
        section.findings.append(
            f"Rate with the large table over that with the small one: {ratio:.2f}; processor time per request: {cpu:.2f}."
        )
        section.findings.append(f"Memory of the worker: {grown / ROUTES:,.0f} bytes a route.")
        small.drop("sink")
    with hilbert(up, workers=2) as (plane, _):
        plane.run(plane.feed.reset, many)
        plane.settle()
        times = [_change(plane, many[number]) for number in range(300)]
        section.findings.append(
            f"One changed function is in both workers' tables, and this is known, after {load.median(times) * 1e3:.2f} ms (median) and "
            f"{load.percentile(times, 0.99) * 1e3:.2f} ms (99th percentile) of {len(times)} changes to the large table."
        )
    return section


def _change(plane: object, route: Route) -> float:
    """From giving a change to the feed until every worker has said that it has it."""
    changed = Route(route.namespace, route.name, (*route.endpoints, Endpoint("more", "unix:/nowhere")))
    totals: Totals = plane.totals  # type: ignore[attr-defined]
    began = time.perf_counter()
    plane.run(plane.feed.put, changed)  # type: ignore[attr-defined]
    version = plane.feed.version  # type: ignore[attr-defined]
    while True:
        workers = list(totals.workers().values())
        version = plane.feed.version  # type: ignore[attr-defined]
        if len(workers) == 2 and all(one.table_version >= version for one in workers) and not plane.feed._changed:  # type: ignore[attr-defined]
            return time.perf_counter() - began
        time.sleep(0.0001)
