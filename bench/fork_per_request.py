"""Requests a second of one watchdog with one process per request, over a unix socket.

    python bench/fork_per_request.py [--mode streaming] [--process cat] [--connections 8] [--seconds 5] [--rounds 3]

Method: a real watchdog, started as the process runtime starts one; as many keep-alive connections as asked for, each with
one POST of 32 bytes under way at a time, driven by one thread of this process (about 20 microseconds a request, so the
generator takes a fiftieth of a core at 1,000 requests/s). Each answer is checked. The first second of each round is
not counted. Nothing is pinned: on two cores the watchdog, the processes and the generator share them.
"""

from __future__ import annotations

import argparse
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import hilbert

BODY = b"hello world hello world hello wo"
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
START = "import sys; sys.path[:0] = sys.argv[1:]; from hilbert.watchdog.run import run_and_exit; run_and_exit()"


@dataclass
class Round:
    """What one round measured, in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * share)]


class Client:
    """One connection with one request under way."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.began = 0.0
        self.data = b""

    def send(self) -> None:
        self.data = b""
        self.began = time.perf_counter()
        self.socket.sendall(REQUEST)

    def done(self) -> bool:
        """Whether the answer is whole. Raises `SystemExit` for a wrong one."""
        part = self.socket.recv(65536)
        self.data += part
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not part or (end and not head.startswith(b"HTTP/1.1 200 ")):
            raise SystemExit(f"unexpected answer: {self.data[:200]!r}")
        if b"Transfer-Encoding: chunked" in head:
            return body.endswith(b"0\r\n\r\n")
        return bool(end) and len(body) == int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])


def measure(path: str, connections: int, seconds: float) -> Round:
    clients = [Client(path) for _ in range(connections)]
    waiting = selectors.DefaultSelector()
    for client in clients:
        waiting.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    begin = time.perf_counter() + 1.0
    end = begin + seconds
    result = Round(seconds)
    while (now := time.perf_counter()) < end:
        for key, _ in waiting.select(1.0):
            client = key.data
            if client.done():
                if now > begin:
                    result.latencies.append(time.perf_counter() - client.began)
                client.send()
    for client in clients:
        client.socket.close()
    return result


def start(folder: Path, mode: str, process: str) -> subprocess.Popen[bytes]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s"))
    listener.listen(512)
    paths = [str(Path(hilbert.__file__).parent.parent), sysconfig.get_path("purelib")]
    env = {"PATH": os.environ["PATH"], "HILBERT_LISTEN_FD": str(listener.fileno()), "mode": mode, "fprocess": process}
    with listener, open(folder / "log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", START, *paths],
            env=env,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mode", default="streaming", choices=["streaming", "serializing"])
    parser.add_argument("--process", default="cat")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    watchdog = start(folder, options.mode, options.process)
    rates = []
    try:
        for number in range(options.rounds):
            result = measure(str(folder / "s"), options.connections, options.seconds)
            rates.append(result.rate)
            p50, p99 = (1000 * result.percentile(share) for share in (0.5, 0.99))
            print(f"round {number + 1}: {result.rate:7.0f} requests/s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")
        load = os.getloadavg()[0]
        print(f"median: {statistics.median(rates):.0f} requests/s, {options.connections} connections, load {load:.1f}")
    finally:
        watchdog.terminate()
        watchdog.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
