"""Whether cost grows with the platform: ten thousand routes in a thousand namespaces, and a hundred thousand."""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench import load, peers
from bench.proxying import hilbert
from bench.report import Section
from hilbert.core.model import Endpoint, Route
from hilbert.dataplane.feed.totals import Totals

NAMESPACES = 1000
ROUTES = 10_000
MOST = 100_000
CALLED = 1000


def routes(up: peers.Upstream, count: int) -> list[Route]:
    """As many functions in each namespace, each with a replica of its own name."""
    return [
        Route(
            f"tenant-{number % NAMESPACES:04}",
            f"function-{number // NAMESPACES:02}",
            (Endpoint(f"r{number}", f"unix:{up.path}"),),
        )
        for number in range(count)
    ]


def growth(up: peers.Upstream, where: Path, *, rounds: int, seconds: float) -> Section:
    """Rates with small and large tables, memory of a route, time of a change."""
    many = routes(up, ROUTES)
    called = random.sample(many, CALLED)
    paths = [f"/function/{route.name}.{route.namespace}" for route in called]
    for name, lines in (("many", paths), ("one", [f"/function/up?{path}" for path in paths])):
        (where / f"{name}.lua").write_text(
            # Made in `init`: before, `wrk` does not know its Host.
            "local r = {}\nlocal n = 0\nfunction init(args)\n"
            + "".join(f'  r[#r+1] = wrk.format("GET", "{path}")\n' for path in lines)
            + "end\nfunction request() n = n % #r + 1; return r[n] end\n"
        )
    section = Section(
        "Ten thousand functions",
        f"Each function has a replica of its own. One function is called with {CALLED:,} different queries, or {CALLED:,} functions in turn, with "
        f"nothing else in the table and with {ROUTES:,} or {MOST:,} routes in {NAMESPACES:,} namespaces. A round before the first opens the connections.",
        ["called", "routes in the table", "requests/s", "p99", "processor µs/request", "errors"],
    )
    with (
        hilbert(up) as (_, one),
        hilbert(up) as (middle, thousand),
        hilbert(up) as (large, all_of_them),
        hilbert(up) as (largest, most),
    ):
        middle.run(middle.feed.reset, called)
        middle.settle()
        before = large.memory()
        large.run(large.feed.reset, [*large.feed._routes.values(), *many])
        large.settle()
        grown = large.memory() - before
        largest.run(largest.feed.reset, [*largest.feed._routes.values(), *routes(up, MOST)])
        largest.settle()
        cases = (
            ("1 function", "1", "one", one),
            ("the same", f"{ROUTES:,}", "one", all_of_them),
            (f"{CALLED:,} in turn", f"{CALLED:,}", "many", thousand),
            ("the same", f"{ROUTES:,}", "many", all_of_them),
            ("1 function", f"{MOST:,}", "one", most),
        )
        found: list[list[load.Result]] = [[] for _ in cases]
        for number in range(rounds + 1):
            for results, (_, _, name, peer) in zip(found, cases, strict=True):
                result = load.wrk(f"{peer.url}/", seconds=seconds, script=where / f"{name}.lua", pids=peer.pids)
                if number:
                    results.append(result)
        for results, (title, size, _, _) in zip(found, cases, strict=True):
            section.rows.append(
                (
                    title,
                    size,
                    f"{load.median([r.rate for r in results]):,.0f}",
                    f"{load.median([r.p99 for r in results]) * 1e3:.2f} ms",
                    f"{load.median([r.cpu for r in results]) * 1e6:.1f}",
                    str(sum(r.errors for r in results)),
                )
            )
        alone, spread, beside = (
            load.median([a.rate / b.rate for a, b in zip(found[now], found[first], strict=True)])
            for now, first in ((1, 0), (3, 2), (4, 0))
        )
        section.findings.append(
            f"Rate with {ROUTES:,} routes over that with the small table: {alone:.2f} for one function, {spread:.2f} for {CALLED:,} "
            f"in turn; with {MOST:,} routes {beside:.2f} for one function."
        )
        section.findings.append(f"Memory of the worker: {grown / ROUTES:,.0f} bytes a route.")
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
