"""A data plane as it really runs: worker processes on sockets of their own, with this process as their control plane."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
import uvloop

from hilbert.core.limits import CallLimits
from hilbert.core.model import CallPolicy, Endpoint, Route, StartFault
from hilbert.core.settings import load
from hilbert.core.values import FunctionRef
from hilbert.dataplane.config import WorkerConfig
from hilbert.dataplane.feed.publisher import Feed
from hilbert.dataplane.feed.totals import Totals
from hilbert.kit.lifeline import READY
from support.replicas import Call, Replica, Script, echo
from support.wire import PATIENCE, Message, Wire

T = TypeVar("T")


def until(condition: Callable[[], T], *, what: str, within: float = PATIENCE) -> T:
    """Wait for `condition` to be true, and return what it gave."""
    end = time.monotonic() + within
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.005)
    return result


DELIVERY_SECRET = "proves-who-delivers"


class Plane:
    """Workers, their feed and what stands in for the REST API. Everything is released by `close`."""

    python = sys.executable
    """What runs the workers."""

    def __init__(
        self, *, workers: int = 1, routes: bool = True, flags: Mapping[str, object] | None = None, **gateway: object
    ) -> None:
        """`gateway` are settings, `flags` those of other sections; `routes=False` leaves the workers without a table."""
        self.folder = Path(tempfile.mkdtemp(prefix="hb-"))
        self.wakes: list[str] = []
        self.on_wake: Callable[[FunctionRef], None] = lambda ref: None
        self.totals = Totals()
        self.replicas: list[Replica] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.lifelines: list[socket.socket] = []
        self.log = self.folder / "log"
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._names = 0
        named = {f"gateway.{name}": value for name, value in gateway.items()}
        self.settings = load(environ={}, flags={**named, **(flags or {})}).settings
        self.sockets = [self._listen() for _ in range(workers)]
        self.control: Replica | None = None
        self.feed: Feed
        self.start_feed()
        if routes:
            self.run(self.feed.reset, [])
        for index in range(workers):
            self.workers.append(self.start_worker(index))

    # Control

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function on the feed's event loop."""

        async def call() -> T:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE)

    def start_feed(self) -> None:
        path = self.folder / "feed.sock"
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(path))
        sock.listen(64)
        sock.setblocking(False)
        self.feed = self.run(Feed, self.totals, self._woken)
        asyncio.run_coroutine_threadsafe(self.feed.start(sock), self._loop).result(PATIENCE)

    def stop_feed(self) -> None:
        """The control plane goes away."""
        asyncio.run_coroutine_threadsafe(self.feed.close(), self._loop).result(PATIENCE)
        (self.folder / "feed.sock").unlink(missing_ok=True)

    def start_control(self, script: Script) -> Replica:
        """What answers requests that are no calls of functions."""
        replica = Replica(self.folder, script)
        self.replicas.append(replica)
        path = self.folder / "control.sock"
        path.unlink(missing_ok=True)
        path.symlink_to(replica.address[5:])
        self.control = replica
        return replica

    def _woken(self, ref: FunctionRef) -> None:
        self.wakes.append(str(ref))
        self.on_wake(ref)

    # Functions

    def replica(self, script: Script = echo, *, tcp: bool = False) -> Replica:
        replica = Replica(self.folder, script, tcp=tcp)
        self.replicas.append(replica)
        return replica

    def function(
        self, script: Script = echo, *, replicas: int = 1, policy: CallPolicy | None = None, tcp: bool = False
    ) -> tuple[str, list[Replica]]:
        """A new function with replicas of its own; returns its name in the default namespace."""
        self._names += 1
        name = f"f{self._names}"
        made = [self.replica(script, tcp=tcp) for _ in range(replicas)]
        self.put(name, *(one.endpoint for one in made), policy=policy)
        return name, made

    def put(
        self,
        name: str,
        *endpoints: Endpoint,
        namespace: str = "openfaas-fn",
        policy: CallPolicy | None = None,
        open_to_all: bool = False,
        fault: StartFault | None = None,
        limits: CallLimits | None = None,
        namespace_limits: CallLimits | None = None,
        guarded: bool = False,
    ) -> None:
        """Set a route, and wait until the workers have it."""
        route = Route(
            namespace,
            name,
            endpoints,
            policy or CallPolicy(),
            limits,
            namespace_limits,
            open=open_to_all,
            guarded=guarded,
            fault=fault,
        )
        self.run(self.feed.put, route)
        self.settle()

    def drop(self, name: str, *, namespace: str = "openfaas-fn") -> None:
        self.run(self.feed.drop, FunctionRef(namespace, name))  # type: ignore[arg-type]  # names made here
        self.settle()

    def settle(self) -> None:
        """Wait until every worker has said that it has the table of now, which it does with its counters."""
        version = self.run(lambda: (self.feed.snapshot(), self.feed.version)[1])
        live = [worker for worker in self.workers if worker.poll() is None]
        until(
            lambda: (
                len(self.totals.workers()) >= len(live)
                and all(one.table_version >= version for one in self.totals.workers().values())
            ),
            what=f"version {version} in every worker",
        )

    def waiting(self, name: str) -> int:
        """Calls of a function that wait, as the workers last said."""
        return sum(one.waiting for ref, one in self.totals.functions().items() if ref.name == name)

    # Workers

    def _listen(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = self.sockets[0].getsockname()[1] if getattr(self, "sockets", None) else getattr(self, "_port", 0)
        sock.bind(("127.0.0.1", port))
        self._port = sock.getsockname()[1]
        sock.listen(4096)
        return sock

    def start_worker(self, index: int) -> subprocess.Popen[bytes]:
        """Start a worker on its socket and wait until it takes calls."""
        ours, theirs = socket.socketpair()
        document = os.memfd_create("config", 0)
        config = WorkerConfig(
            settings=self.settings,
            index=index,
            workers=len(self.sockets),
            listen_fd=self.sockets[index].fileno(),
            feed_path=str(self.folder / "feed.sock"),
            control_path=str(self.folder / "control.sock"),
            inside_path=str(self.folder / "inside.sock"),
            delivery_secret=DELIVERY_SECRET,
            lifeline_fd=theirs.fileno(),
        )
        os.write(document, msgspec.json.encode(config))
        os.lseek(document, 0, os.SEEK_SET)
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [self.python, "-W", "error", "-m", "hilbert.dataplane.worker", str(document)],
                pass_fds=[document, theirs.fileno(), self.sockets[index].fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.close(document)
        theirs.close()
        ours.settimeout(PATIENCE)
        with contextlib.suppress(TimeoutError):
            if ours.recv(len(READY)) == READY:
                self.lifelines.append(ours)  # Its end would be the worker's.
                return worker
        with ours, worker:
            worker.kill()
        raise AssertionError(f"the worker did not start:\n{self.log.read_text()}")

    def kill_worker(self, index: int) -> None:
        """`kill -9`."""
        self.workers[index].kill()
        self.workers[index].wait(PATIENCE)

    def memory(self, index: int = 0) -> int:
        """Resident bytes of a worker."""
        return int(psutil.Process(self.workers[index].pid).memory_info().rss)

    def open_files(self, index: int = 0) -> int:
        return int(psutil.Process(self.workers[index].pid).num_fds())

    # Calling

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def connect(self) -> Wire:
        return Wire.to(self.address)

    def connect_from(self, source: str) -> Wire:
        """A connection from another address of this machine, which is another source to the worker."""
        return Wire(socket.create_connection(self.address, source_address=(source, 0)))

    def call(self, path: str, body: bytes = b"", *, method: str = "", headers: str = "") -> Message:
        """One request on a connection of its own. `headers` are whole lines."""
        method = method or ("POST" if body else "GET")
        lines = "".join(f"{line}\r\n" for line in headers.split("\n") if line)
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        with self.connect() as wire:
            wire.send(f"{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n{lines}{length}\r\n".encode() + body)
            return wire.response(to=method.encode())

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(3)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(PATIENCE)
        with contextlib.suppress(Exception):
            self.stop_feed()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()
        for replica in self.replicas:
            replica.stop()
        for sock in (*self.sockets, *self.lifelines):
            sock.close()
        text = self.log.read_text(errors="replace")
        errors = "Traceback" in text
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not errors, text


__all__ = ["Call", "Plane", "Replica", "until"]
