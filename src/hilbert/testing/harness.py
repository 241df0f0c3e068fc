"""What provider suites stand on: a harness, calls to replicas, a watcher, and waiting for what must come true."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest

from hilbert.core.model import Endpoint, EndpointSet, FunctionSpec, LogLine, LogQuery, Synced
from hilbert.core.ports import Logs, Namespaces, Provider, Secrets
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef, NamespaceName
from hilbert.kit.inside import Dialer

PATIENCE = 60.0
"""Seconds until a condition that does not come true fails its test. Generous: machines are shared."""


class Harness(Protocol):
    """One provider to test, started, and the means to disturb it."""

    provider: Provider
    image: str
    """Of a function that answers with the request's body."""

    def namespace(self, name: str = "") -> NamespaceName:
        """The namespace that a test calls `name`; the default one for an empty name. Where others' namespaces are around,
        a harness has names of its own."""
        ...

    async def call(self, endpoint: Endpoint, body: bytes = b"", *, path: str = "/") -> tuple[int, bytes]:
        """POST to a replica: status and body. As the function `call`, where its address can be reached from here."""
        ...

    async def crash(self, endpoint: Endpoint) -> bool:
        """End one replica without asking. False: it cannot be done here."""
        ...

    async def restart(self) -> bool:
        """End the provider as a crash would and start another on the same state. False: it cannot be done here."""
        ...


class Alone:
    """A harness's answers where nobody else is around and every replica can be reached."""

    @staticmethod
    def namespace(name: str = "") -> NamespaceName:
        return NamespaceName(name or DEFAULT_NAMESPACE)

    @staticmethod
    async def call(endpoint: Endpoint, body: bytes = b"", *, path: str = "/") -> tuple[int, bytes]:
        return await call(endpoint, body, path=path)


def spec_of(harness: Harness, name: str = "echo", namespace: str = "", **fields: Any) -> FunctionSpec:
    """A spec that the harness can run; `namespace` is a test's name for it."""
    ref = FunctionRef(namespace=harness.namespace(namespace), name=FunctionName(name))
    return FunctionSpec(**{"ref": ref, "image": harness.image, **fields})


async def call(endpoint: Endpoint, body: bytes = b"", *, path: str = "/") -> tuple[int, bytes]:
    """POST to the replica's address: status and body."""
    kind, _, address = endpoint.address.partition(":")
    if kind == "unix":
        reader, writer = await asyncio.open_unix_connection(address)
    elif kind == "inside":
        dialer = Dialer(ahead=1)
        try:
            reader, writer = await asyncio.open_connection(sock=await dialer.dial(address))
        finally:
            dialer.close()
    else:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        status = int((await reader.readline()).split()[1])
        length, chunked = None, False
        while line := (await reader.readline()).strip():
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
            chunked = chunked or (name == b"transfer-encoding" and b"chunked" in value)
        if chunked:
            return status, b"".join([part async for part in _chunks(reader)])
        return status, await (reader.read() if length is None else reader.readexactly(length))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readline()


async def eventually(check: Callable[[], Any], *, every: float = 0.01, within: float = PATIENCE) -> Any:
    """The first true result of `check`, which may be a coroutine function; fails after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        result: Any = check()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        assert asyncio.get_running_loop().time() < deadline, f"did not come true within {within:g} s"
        await asyncio.sleep(every)


class Table:
    """What a watcher knows: the newest endpoint set of each function, and all that came, in order."""

    def __init__(self, provider: Provider) -> None:
        self.sets: dict[FunctionRef, EndpointSet] = {}
        self.history: list[EndpointSet] = []
        self.synced = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(provider))  # noqa: TID251 - held here, ended by `close`

    async def _run(self, provider: Provider) -> None:
        async for item in provider.watch():
            if isinstance(item, Synced):
                self.synced.set()
            else:
                self.history.append(item)
                self.sets[item.ref] = item

    def endpoints(self, ref: FunctionRef) -> tuple[Endpoint, ...]:
        return self.sets[ref].endpoints if ref in self.sets else ()

    async def ready(self, ref: FunctionRef, count: int = 1) -> tuple[Endpoint, ...]:
        """The endpoints, once there are exactly `count`."""
        await eventually(lambda: ref in self.sets and len(self.endpoints(ref)) == count)
        return self.endpoints(ref)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@contextlib.asynccontextmanager
async def watching(provider: Provider) -> AsyncIterator[Table]:
    """A `Table` that has seen the first full pass."""
    table = Table(provider)
    try:
        async with asyncio.timeout(PATIENCE):
            await table.synced.wait()
        yield table
    finally:
        await table.close()


def namespaces_of(harness: Harness) -> Namespaces:
    """The capability; skips the test where it is missing."""
    if not isinstance(harness.provider, Namespaces):
        pytest.skip(f"the {harness.provider.name} provider has no namespaces")
    return harness.provider


def secrets_of(harness: Harness) -> Secrets:
    """The capability; skips the test where it is missing."""
    if not isinstance(harness.provider, Secrets):
        pytest.skip(f"the {harness.provider.name} provider has no secrets")
    return harness.provider


def logs_of(harness: Harness) -> Logs:
    """The capability; skips the test where it is missing."""
    if not isinstance(harness.provider, Logs):
        pytest.skip(f"the {harness.provider.name} provider has no logs")
    return harness.provider


async def lines_of(harness: Harness, **query: Any) -> list[LogLine]:
    """Stored lines."""
    return [line async for line in logs_of(harness).read_logs(LogQuery(**query))]
