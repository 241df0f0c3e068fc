"""What a tenant can do to its neighbours: `python -m support.floods KIND PORT TOKEN`, until its standard input ends.

A process of its own with the lowest priority: what is watched is what the platform lets through to the neighbours, and not
what a client takes from them that happens to run on the same machine. It says when it has begun, and at its end how often each
status was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator

TENANT = "noisy"
SOURCE = "127.0.0.9"
"""Where it comes from: not where its neighbours do."""
COLD = 200
REPLICAS = 20
FORKS = "bomb() { bomb | bomb & }; bomb; sleep 600"
MEMORY = "tail /dev/zero"
SPIN = "while :; do :; done"
LOGS = "yes 'a line of log that says nothing at all' >&2"

FUNCTIONS = {
    "echo": "cat",
    "spin": SPIN,
    "memory": MEMORY,
    "forks": FORKS,
    "logs": LOGS,
}
"""Of the tenant, and what each runs."""


class Flood:
    """Requests over many connections until it is over."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self.over = False
        self.statuses: Counter[str] = Counter()
        self._begun = False

    def begun(self) -> None:
        """Something was sent."""
        if not self._begun:
            self._begun = True
            print("begun", flush=True)

    def request(self, method: str, path: str, body: bytes = b"", *, api: bool = False) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: Bearer {self.token}\r\n" if api else ""
        return head.encode() + b"\r\n" + body

    async def hammer(self, requests: Iterator[bytes], connections: int, *, patience: float = 30.0) -> None:
        """One request after the other on each connection, as fast as they are answered."""
        await asyncio.gather(*(self._connection(requests, patience) for _ in range(connections)))

    async def _connection(self, requests: Iterator[bytes], patience: float) -> None:
        while not self.over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(SOURCE, 0))
            except OSError:
                self.statuses["unreachable"] += 1
                await asyncio.sleep(0.05)
                continue
            try:
                async with asyncio.timeout(patience):
                    while not self.over:
                        writer.write(next(requests))
                        await writer.drain()
                        self.begun()
                        self.statuses[await _status(reader)] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                self.statuses["lost"] += 1
            finally:
                writer.close()

    async def hold(self, connections: int) -> None:
        """Open connections that say nothing, and open them again when they are closed."""

        async def one() -> None:
            while not self.over:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(SOURCE, 0))
                    self.statuses["opened"] += 1
                    self.begun()
                    await reader.read(4096)
                    writer.close()
                await asyncio.sleep(0.02)

        await asyncio.gather(*(one() for _ in range(connections)))


async def _status(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = 0
    for line in lines:
        if line.startswith(b"content-length:"):
            length = int(line[15:])
        elif line.startswith(b"transfer-encoding:"):
            while size := int((await reader.readline()).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readline()
    if length:
        await reader.readexactly(length)
    if b"connection: close" in lines:
        raise ValueError("closed")
    return lines[0].split()[1].decode()


def _call(name: str) -> str:
    return f"/function/{name}.{TENANT}"


async def sync(flood: Flood) -> None:
    """Calls at full speed from 64 connections."""
    await flood.hammer(itertools.repeat(flood.request("POST", _call("echo"), b"x" * 32)), 64)


async def queue(flood: Flood) -> None:
    """100,000 queued calls, a thousand in a request."""
    calls = {"namespace": TENANT, "calls": [{"function": "echo", "body": "x"}] * 1000}
    body = json.dumps(calls).encode()
    await flood.hammer(itertools.repeat(flood.request("POST", "/system/async/batch", body, api=True)), 4)


async def deploys(flood: Flood) -> None:
    """Deploys and deletes, as many as are answered: aimed at 500 a second."""

    def changes() -> Iterator[bytes]:
        for number in itertools.count():
            name = f"d{number // 2 % 50}"
            labels = {"com.openfaas.scale.zero": "true"}
            spec = {"service": name, "namespace": TENANT, "image": "functions/alpine:latest", "labels": labels}
            gone = {"functionName": name, "namespace": TENANT}
            method, body = ("POST", spec) if number % 2 == 0 else ("DELETE", gone)
            yield flood.request(method, "/system/functions", json.dumps(body).encode(), api=True)

    await flood.hammer(changes(), 16)


async def reads(flood: Flood) -> None:
    """Lists of functions through the REST API, at full speed."""
    path = f"/system/functions?namespace={TENANT}"
    await flood.hammer(itertools.repeat(flood.request("GET", path, api=True)), 32)


async def connections(flood: Flood) -> None:
    """Connections that say nothing."""
    await flood.hold(2000)


async def cold(flood: Flood) -> None:
    """Starts of 200 functions at once, again and again: each is called, then scaled to zero."""

    async def one(number: int) -> None:
        while not flood.over:
            calls = iter([flood.request("POST", _call(f"cold{number}"), b"x")])
            with contextlib.suppress(StopIteration, RuntimeError):
                await flood.hammer(calls, 1)
            zero = json.dumps({"replicas": 0}).encode()
            path = f"/system/scale-function/cold{number}?namespace={TENANT}"
            with contextlib.suppress(StopIteration, RuntimeError):
                await flood.hammer(iter([flood.request("POST", path, zero, api=True)]), 1)

    await asyncio.gather(*(one(number) for number in range(COLD)))


async def bodies(flood: Flood) -> None:
    """Bodies of 8 MiB, 16 at a time."""
    await flood.hammer(itertools.repeat(flood.request("POST", _call("echo"), b"x" * (8 << 20))), 16)


def _runs(name: str, count: int) -> Callable[[Flood], Coroutine[None, None, None]]:
    async def run(flood: Flood) -> None:
        await flood.hammer(itertools.repeat(flood.request("POST", _call(name))), count, patience=600)

    return run


FLOODS: dict[str, Callable[[Flood], Coroutine[None, None, None]]] = {
    "sync calls": sync,
    "queued calls": queue,
    "deploys and deletes": deploys,
    "API reads": reads,
    "log lines": _runs("logs", 4),
    "spinning": _runs("spin", REPLICAS),
    "memory": _runs("memory", 4),
    "fork bombs": _runs("forks", 4),
    "connections": connections,
    "cold starts": cold,
    "large bodies": bodies,
}


async def main(kind: str, port: int, token: str) -> None:
    flood = Flood(port, token)
    task = asyncio.create_task(FLOODS[kind](flood))
    await asyncio.to_thread(sys.stdin.read)
    flood.over = True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print(json.dumps(flood.statuses))


if __name__ == "__main__":
    os.nice(19)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
