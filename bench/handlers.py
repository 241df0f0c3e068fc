"""A Python function on the whole platform, beside the servers that would run the same function without one."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import hilbert
from bench import load, servers
from bench.peers import MEASURED_CORE
from bench.report import Section
from support.platform import Platform

PLAIN = """
def handle(event, context):
    return {"statusCode": 200, "body": "hello world\\n", "headers": {"Content-Type": "text/plain; charset=utf-8"}}
"""

FUNCTIONS = {
    "plain": ("python3-http", PLAIN),
    "async": ("python3-http", "async " + PLAIN.lstrip()),
    "asgi": ("python3-asgi", servers.ASGI_APP),
}
"""By name: template and handler."""

TITLES = {
    "plain": "Hilbert: `def handle`",
    "async": "Hilbert: `async def handle`",
    "asgi": "Hilbert: ASGI application (`python3-asgi`, which runs uvicorn)",
}

AGAINST = "uvicorn"
"""What ratios are to."""

START = "import sys; sys.path[:0] = sys.argv[1:]; from hilbert.watchdog.run import run_and_exit; run_and_exit()"
CONNECTIONS = 16
BODY = "hello world hello world hello wo"


@dataclass
class Candidate:
    """Something to call, and what of the machine counts as its own."""

    title: str
    url: str
    processes: psutil.Process
    """The root of those whose processor time counts."""
    cores: str
    results: list[load.Result] = field(default_factory=list)

    def measure(self, script: Path, seconds: float) -> None:
        # On one core it has that one and `wrk` the other; else all share both.
        core = load.LOAD_CORE if self.cores == "1" else None
        pids = [self.processes.pid, *(child.pid for child in self.processes.children(recursive=True))]
        self.results.append(
            load.wrk(self.url, connections=CONNECTIONS, seconds=seconds, script=script, pids=pids, core=core)
        )

    @property
    def cpu(self) -> float:
        """Processor seconds a call."""
        return load.median([one.cpu for one in self.results])

    def over(self, other: Candidate) -> float:
        """Its rate over that of another, round by round."""
        return load.median([one.rate / two.rate for one, two in zip(self.results, other.results, strict=True)])


def section(where: Path, *, rounds: int, seconds: float) -> Section:
    """Start everything, measure in turn, stop it."""
    script = where / "handler.lua"
    script.write_text(f'wrk.method = "POST"\nwrk.body = "{BODY}"\n')
    place = servers.environment()
    with contextlib.ExitStack() as stack:
        functions = [
            Candidate(TITLES[name], f"{platform.url}/function/{name}", _process(platform), "2")
            for platform in [stack.enter_context(_platform(FUNCTIONS))]
            for name in FUNCTIONS
        ]
        bare = stack.enter_context(_platform(["plain"], "process.sandbox=process"))
        unboxed = Candidate("gateway and handler, no sandbox", f"{bare.url}/function/plain", _process(bare), "2")
        watchdog = stack.enter_context(_watchdog(where / "watchdog"))
        alone = [
            Candidate(title, found.url, psutil.Process(found.process.pid), "1")
            for title in servers.ALONE
            for found in [stack.enter_context(servers.alone(title, place, where, core=MEASURED_CORE))]
        ]
        everything = [*functions, *alone, unboxed, watchdog]
        for number in range(rounds + 1):
            for candidate in everything if number % 2 else everything[::-1]:
                candidate.measure(script, seconds if number else 1.0)
        for candidate in everything:
            del candidate.results[0]  # Connections were opened, and what is slow at first was.
    return _report(functions, alone, unboxed, watchdog, servers.versions(place))


def _report(
    functions: list[Candidate], alone: list[Candidate], unboxed: Candidate, watchdog: Candidate, versions: str
) -> Section:
    found = Section(
        "A Python function, beside the servers that users run today",
        f"Each answers a POST of {len(BODY)} bytes with `hello world`, over {CONNECTIONS} kept connections of `wrk`. The functions of Hilbert are "
        "called through a whole gateway with its default settings, in their sandbox; gateway, function and `wrk` share two cores. Each other "
        "server runs alone, with one process on a core of its own and `wrk` on the other: no gateway, no sandbox, no tenants.",
        ["what answers", "cores", "requests/s", "p50", "p99", "processor µs/request", f"rate over {AGAINST}", "errors"],
    )
    [against] = [one for one in alone if one.title == AGAINST]
    for one in [*functions, *alone]:
        found.rows.append(
            (
                one.title,
                one.cores,
                f"{load.median([result.rate for result in one.results]):,.0f}",
                f"{load.median([result.p50 for result in one.results]) * 1e3:.2f} ms",
                f"{load.median([result.p99 for result in one.results]) * 1e3:.2f} ms",
                f"{one.cpu * 1e6:.0f}",
                f"{one.over(against):.2f}",
                str(sum(result.errors for result in one.results)),
            )
        )
    plain = functions[0]
    gateway, sandbox = unboxed.cpu - watchdog.cpu, plain.cpu - unboxed.cpu
    found.findings.append(
        f"Processor time of a call of `def handle`: {watchdog.cpu * 1e6:.0f} µs in the watchdog, measured alone, {gateway * 1e6:+.0f} µs with "
        f"the gateway before it, {sandbox * 1e6:+.0f} µs with the sandbox around it."
    )
    found.findings.append(f"Versions: {versions}.")
    return found


def _process(platform: Platform) -> psutil.Process:
    assert platform.process is not None
    return psutil.Process(platform.process.pid)


@contextlib.contextmanager
def _platform(names: Iterable[str], *settings: str) -> Iterator[Platform]:
    """A platform with some of `FUNCTIONS`."""
    platform = Platform("log.level=warning", *settings)
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    try:
        platform.start()
        for name in names:
            template, handler = FUNCTIONS[name]
            platform.hilbert("new", name, "--lang", template, "--quiet", "--yaml", f"{name}.yaml")
            (platform.folder / name / "handler.py").write_text(handler)
            for test in (platform.folder / name).glob("*_test.py"):
                test.unlink()  # Of the template's own answer.
            platform.hilbert("up", "--yaml", f"{name}.yaml", timeout=600)
        yield platform
    finally:
        platform.close()


@contextlib.contextmanager
def _watchdog(where: Path) -> Iterator[Candidate]:
    """The watchdog with the plain handler, without gateway and sandbox, pinned to a core."""
    where.mkdir()
    (where / "handler.py").write_text(PLAIN)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        paths = [str(Path(hilbert.__file__).parent.parent), sysconfig.get_path("purelib")]
        process = subprocess.Popen(
            ["taskset", "-c", str(MEASURED_CORE), sys.executable, "-I", "-S", "-c", START, *paths],
            env={
                "PATH": os.environ["PATH"],
                "HILBERT_LISTEN_FD": str(listener.fileno()),
                "HILBERT_MODE": "python",
                "HILBERT_HANDLER": str(where / "handler.py"),
                "HILBERT_BUNDLE": str(where),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    try:
        yield Candidate("watchdog and handler alone", url, psutil.Process(process.pid), "1")
    finally:
        process.terminate()
        process.wait(10)
