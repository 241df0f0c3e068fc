"""The REST API over a real unix socket, and a small HTTP/1.1 client for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import uvicorn

from hilbert.api.app import create_app, server_config
from hilbert.api.services import Services
from hilbert.audit.auditor import Auditor
from hilbert.audit.log import AuditLog
from hilbert.audit.ports import Page, Wanted
from hilbert.audit.record import Record
from hilbert.control.call_counts import CallTotals, NoCalls
from hilbert.control.delivery.intake import Intake
from hilbert.control.delivery.room import Rooms
from hilbert.control.leader import SoleLeader
from hilbert.control.schedules.firing import Firing
from hilbert.control.usage import Ledger
from hilbert.core import errors
from hilbert.core.errors import HilbertError
from hilbert.core.ports import Provider
from hilbert.core.settings import Settings
from hilbert.iam.access import Access
from hilbert.iam.access_store import AccessStore
from hilbert.iam.basic import Credentials
from hilbert.iam.federation import Federation
from hilbert.iam.fetch import Fetch
from hilbert.iam.issuer_keys import IssuerKeys
from hilbert.iam.signing import KeyRing
from hilbert.iam.sqlite_shelf import SqliteShelves
from hilbert.iam.token_store import TokenStore
from hilbert.providers.memory import MemoryProvider
from hilbert.queues.memory import MemoryQueue

URL = "https://gateway.example.com"
"""By which clients know the gateway: the issuer of its tokens."""
CREDENTIALS = Credentials(user="admin", password="correct-horse")


def error_classes(kind: type[HilbertError] = HilbertError) -> Iterator[type[HilbertError]]:
    """Every class of the domain's error tree below its root."""
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from error_classes(child)


async def no_fetch(url: str, _named: frozenset[str]) -> bytes:
    raise errors.BackendUnavailable(f"cannot fetch {url}: there is no network in this test")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Recorded:
    """An audit log in memory, for what needs no files."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, record: Record) -> None:
        self.records.append(record)

    async def read(self, wanted: Wanted) -> Page:
        lines = list(enumerate(self.records, 1))
        return Page([(n, one) for n, one in lines if wanted.matches(one)], next_seq=len(lines), complete=True)


class Api:
    """One running gateway. `call` speaks as a client that has logged in."""

    def __init__(self, path: Path, services: Services) -> None:
        self.path = path
        self.services = services
        self.provider: Any = services.provider

    async def call(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        user: str = CREDENTIALS.user,
        password: str = CREDENTIALS.password,
    ) -> Answer:
        """`body` is sent as JSON, or as it is if it is bytes. An empty `user` sends no credentials."""
        sent = {"Host": "127.0.0.1:8080", "User-Agent": "test", **(headers or {})}
        if user:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            sent.setdefault("Authorization", f"Basic {token}")
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            sent["Content-Length"] = str(len(data))
        async with asyncio.timeout(20), self.open(method, target, sent, data) as exchange:
            received = b"".join([piece async for piece in exchange.body()])
            return Answer(exchange.status, received, exchange.headers)

    @contextlib.asynccontextmanager
    async def open(self, method: str, target: str, headers: Mapping[str, str], data: bytes) -> AsyncIterator[Exchange]:
        """One request on a connection of its own, with its answer's head read."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            # Written by hand, since real clients send what a strict library would not.
            lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            writer.write("\r\n".join(lines).encode() + data)
            exchange = Exchange(reader, method)
            await exchange.read_head()
            yield exchange
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Exchange:
    """An answer as it comes."""

    def __init__(self, reader: asyncio.StreamReader, method: str) -> None:
        self.connection = h11.Connection(h11.CLIENT)
        self.connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        self.connection.send(h11.EndOfMessage())
        self.status = 0
        self.headers: dict[str, str] = {}
        self._reader = reader

    async def read_head(self) -> None:
        event = await self._next()
        assert isinstance(event, h11.Response), event
        self.status = event.status_code
        self.headers = {name.decode(): value.decode() for name, value in event.headers}

    async def body(self) -> AsyncIterator[bytes]:
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            yield bytes(event.data)

    async def _next(self) -> object:
        while (event := self.connection.next_event()) is h11.NEED_DATA:
            self.connection.receive_data(await self._reader.read(65536))
        return event


async def signing_in(
    shelves: SqliteShelves, *, fetch: Fetch = no_fetch, clock: Callable[[], float] | None = None
) -> dict[str, Any]:
    """The parts of `Services` that know tokens, on shelves. `clock` is the time of tokens of identity providers."""
    tokens = TokenStore(shelves.shelf("tokens"))
    await tokens.load()
    objects = AccessStore(shelves.shelf("access"), Access())
    await objects.load()
    ring = KeyRing(shelves.shelf("issuing_keys"), now=clock or time.time)
    await ring.load()
    keys = IssuerKeys(fetch, now=clock or time.monotonic)
    federation = Federation(objects.access, ring, keys, url=URL, now=clock or time.time)
    return {
        "token_store": tokens,
        "access_registry": objects.access,
        "access_objects": objects,
        "sign_on": federation,
    }


@contextlib.asynccontextmanager
async def running(
    provider: Provider | None = None,
    *,
    settings: Settings | None = None,
    credentials: Credentials | None = CREDENTIALS,
    totals: CallTotals | None = None,
    is_ready: Callable[[], bool] = lambda: True,
    fetch: Fetch | None = None,
    clock: Callable[[], float] | None = None,
    audit: AuditLog | Recorded | None = None,
) -> AsyncIterator[Api]:
    """A gateway on a unix socket, with a `MemoryProvider` unless told otherwise. It fires no schedules."""
    own = MemoryProvider() if provider is None else None
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    shelves = SqliteShelves(folder / "tokens.db")
    sign_in = await signing_in(shelves, fetch=fetch or no_fetch, clock=clock)
    runs = provider or own or MemoryProvider()
    queue = MemoryQueue()
    audit = audit or Recorded()
    services = Services(
        **sign_in,
        auditor=Auditor(audit),
        audit_source=audit,
        ledger=Ledger(dict, default_memory=0),
        provider=runs,
        intake=Intake(queue, rooms=Rooms(runs)),
        firing=Firing(queue, runs, leader=SoleLeader(), rooms=Rooms(runs)),
        settings=settings or Settings(),
        credentials=credentials,
        totals=totals or NoCalls(),
        is_ready=is_ready,
    )
    try:
        async with serving(create_app(services), folder / "a"):
            yield Api(folder / "a", services)
    finally:
        if own is not None:
            await own.close()
        shelves.close()
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def serving(app: Any, path: Path) -> AsyncIterator[None]:
    """`app` on uvicorn with the gateway's own configuration, without its signal handlers and waiting loop."""
    config = server_config(app)
    config.uds = str(path)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield
    finally:
        # As `server.shutdown`, less its wait of 100 ms: a clean test has no request under way here.
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        await _rest(server)
        await server.lifespan.shutdown()


async def _rest(server: uvicorn.Server) -> None:
    """Until nothing is under way. What does not end by itself is ended, so that the event loop can close, and told."""
    state = server.server_state
    for _ in range(10_000):
        if not state.connections and not state.tasks:
            return
        await asyncio.sleep(0.001)
    left = f"{len(state.connections)} connections and {len(state.tasks)} requests"
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    for connection in list(state.connections):
        connection.transport.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    raise AssertionError(f"the gateway did not come to rest: {left}")
