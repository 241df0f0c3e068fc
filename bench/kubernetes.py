"""A gateway on a cluster of size: 10,000 functions in 1,000 namespaces, on the tests' double of an API server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from bench import ROOT, load
from bench.report import Section
from support.platform import Platform, until

NAMESPACES: Final = 1000
FUNCTIONS: Final = 10_000
_WITHIN: Final = 300.0


class Cluster:
    """The double in its own process."""

    def __init__(self, *, namespaces: int, functions: int, upstream: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "bench.cluster", "--upstream", upstream,
                "--namespaces", str(namespaces), "--functions", str(functions),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        facts = self._read()
        self.url: str = facts["url"]
        self.gateway: str = facts["gateway"]
        """Kubeconfig with the rights of an installed gateway."""
        self.token: str = facts["token"]
        """The administrator's."""

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the double ended")
        return json.loads(line)

    def requests(self) -> dict[str, int]:
        """How many requests of each kind came since the last time."""
        assert self._process.stdin is not None
        self._process.stdin.write("requests\n")
        self._process.stdin.flush()
        found: dict[str, int] = self._read()
        return found

    def annotate(self, namespace: str, value: str | None) -> None:
        """Set or take away the annotation that makes a namespace a function namespace."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/namespaces/{namespace}",
            json.dumps({"metadata": {"annotations": {"openfaas": value}}}).encode(),
            {"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {self.token}"},
            method="PATCH",
        )
        urllib.request.urlopen(request, timeout=60).close()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


@contextlib.contextmanager
def upstream(where: Path) -> Iterator[str]:
    """What answers for every function: one watchdog with a Python handler. Gives its `HOST:PORT`."""
    (where / "handler.py").write_text("def handle(event, context):\n    return 'hello'\n")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        environ = {
            **os.environ,
            "HILBERT_MODE": "python",
            "HILBERT_BUNDLE": str(where),
            "HILBERT_HANDLER": str(where / "handler.py"),
            "HILBERT_LISTEN_FD": str(sock.fileno()),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "hilbert.watchdog"],
            env=environ, pass_fds=(sock.fileno(),), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        host, port = sock.getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        process.terminate()
        process.wait(60)


def section(where: Path, *, quick: bool) -> Section:
    """Fill a cluster, start a gateway on it, measure, restart it, measure again."""
    rest = 15 if quick else 60
    with upstream(where) as address:
        cluster = Cluster(namespaces=NAMESPACES, functions=FUNCTIONS, upstream=address)
        platform = Platform("provider.name=kubernetes", f"kubernetes.kubeconfig={cluster.gateway}", "log.level=warning")
        try:
            first = _start(platform)
            first_requests = _settled(cluster)
            found = Section(
                "Kubernetes at size",
                f"{FUNCTIONS:,} functions in {NAMESPACES:,} namespaces on the tests' double of an API server, a process of its own in Python "
                "on the same cores: the times hold what the double takes, too. Every function has its Function, Deployment, Service, "
                "EndpointSlice and Pod; no container runs, all Pods have the address of one function. The gateway is the installed one, "
                "with cluster-wide rights and default settings.",
                ["what", "found"],
            )
            memory = _memory(platform)
            missing = _call_all(platform)
            listed = [_timed(platform, "/system/functions?namespace=tenant-0500") for _ in range(20)]
            names = [_timed(platform, "/system/namespaces") for _ in range(20)]
            appeared = [_appear(platform, cluster) for _ in range(5 if quick else 20)]
            _settled(cluster)
            time.sleep(rest)
            at_rest = cluster.requests()
            platform.stop()
            cluster.requests()
            second = _start(platform)
            second_requests = _settled(cluster)
            found.rows += [
                ("first start, until every route is known", f"{first:.1f} s"),
                ("restart, until every route is known", f"{second:.1f} s"),
                (
                    "API requests of the first start, and of the restart",
                    f"{_count(first_requests)}, {_count(second_requests)}",
                ),
                ("memory of the control process", f"{memory['control'] / 1e6:.0f} MB"),
                ("memory of a worker", f"{memory['worker'] / 1e6:.0f} MB"),
                ("list of the functions of one namespace (median)", f"{load.median(listed) * 1e3:.1f} ms"),
                ("list of the namespaces (median)", f"{load.median(names) * 1e3:.1f} ms"),
                (
                    "from the annotation of a namespace to the first call of its function (median, most)",
                    f"{load.median(appeared) * 1e3:.0f} ms, {max(appeared) * 1e3:.0f} ms",
                ),
                (f"API requests at rest in {rest} s, the counts of calls included", _told(at_rest)),
            ]
            found.findings.append(f"Of calls to 1,000 functions in as many namespaces, {missing} failed.")
            return found
        finally:
            platform.close()
            cluster.close()


def _start(platform: Platform) -> float:
    """Seconds from starting the gateway to the first answer to a function's call."""
    began = time.perf_counter()
    platform.start(within=_WITHIN)
    name = f"function-{FUNCTIONS // NAMESPACES - 1:02}.tenant-{NAMESPACES - 1:04}"
    until(lambda: platform.call(f"/function/{name}").status == 200, within=_WITHIN, what="a route")
    return time.perf_counter() - began


def _settled(cluster: Cluster) -> dict[str, int]:
    """Wait until the gateway asks for nothing but its Lease; what it has asked for."""
    total: dict[str, int] = {}
    while True:
        time.sleep(2)
        found = cluster.requests()
        for kind, count in found.items():
            total[kind] = total.get(kind, 0) + count
        if sum(count for kind, count in found.items() if "leases" not in kind) == 0:
            return total


def _memory(platform: Platform) -> dict[str, int]:
    (control,) = platform.children("hilbert.server.control")
    workers = platform.children("hilbert.dataplane.worker")
    return {"control": _rss(control), "worker": max(_rss(worker) for worker in workers)}


def _rss(process: psutil.Process) -> int:
    found: int = process.memory_info().rss
    return found


def _call_all(platform: Platform) -> int:
    """Call a function in each namespace; how many failed."""
    failed = 0
    for number in random.sample(range(NAMESPACES), min(1000, NAMESPACES)):
        function = random.randrange(FUNCTIONS // NAMESPACES)
        failed += platform.call(f"/function/function-{function:02}.tenant-{number:04}").status != 200
    return failed


def _timed(platform: Platform, path: str) -> float:
    token = base64.b64encode(f"admin:{platform.password}".encode()).decode()
    began = time.perf_counter()
    answer = platform.call(path, headers={"Authorization": f"Basic {token}"})
    took = time.perf_counter() - began
    assert answer.status == 200, answer
    return took


def _appear(platform: Platform, cluster: Cluster) -> float:
    """Seconds from the API server's answer to the annotation to the function's first answer."""
    path = "/function/late.late"
    until(lambda: platform.call(path).status == 404, what="the namespace to be gone")
    cluster.annotate("late", "1")
    began = time.perf_counter()
    while platform.call(path).status != 200:
        time.sleep(0.001)
    took = time.perf_counter() - began
    cluster.annotate("late", None)
    return took


def _count(requests: dict[str, int]) -> str:
    return f"{sum(requests.values()):,}"


def _told(requests: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(requests.items())) or "none"
