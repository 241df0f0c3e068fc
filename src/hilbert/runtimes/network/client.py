"""`Network`: what a runtime asks for its replicas' networks. Talks to the keeper, and starts it where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

import hilbert
from hilbert.core.errors import InvalidSettings, StartFailed
from hilbert.kit import handover
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.process import has_ended
from hilbert.kit.retry import Backoff
from hilbert.runtimes.network import child, machine
from hilbert.runtimes.network.addresses import Pool
from hilbert.runtimes.network.claims import Claim
from hilbert.runtimes.network.messages import PROTOCOL, Attach, Attached, Config, FromKeeper, Hello, Leave, MoveIn, Room
from hilbert.runtimes.network.survey import Abilities, survey

_ANSWER_MOST: Final = 30.0
"""Seconds for the keeper to set up one network; it takes about twenty milliseconds."""
_MOVE_MOST: Final = 5.0
"""The same for a network that is there; without an answer, a sandbox is made anew."""
_OWN_MOST: Final = 10.0
"""Seconds for a starting process to have left this one's network."""
_END_MOST: Final = 3.0
_LOOK_EVERY: Final = 0.001
_AGAIN: Final = Pace(first=0.25, most=15.0)
"""Seconds before the keeper is started once more when it could not be, doubling."""

_decoder = msgspec.json.Decoder(type=FromKeeper)
_log = structlog.get_logger("hilbert.network")


class _Known(msgspec.Struct, frozen=True):
    """A replica whose network is kept, as long as it runs."""

    order: Attach
    pid: int
    process: int
    """A pidfd: that pid is this process as long as it says so."""


class Network:
    """`open` it before use, `close` it at the end: networks of replicas that run stay as they are."""

    def __init__(self, folder: Path, *, pool: str) -> None:
        """`folder` holds the two sockets, and is what sets installations on one machine apart. Raises `InvalidSettings`."""
        self._folder = folder
        self._label = network_label(folder)
        try:
            self._pool = Pool(pool)
        except ValueError as exc:
            raise InvalidSettings(f"process.network_pool: {pool}: {exc}") from exc
        self._abilities = Abilities()
        self._connection: socket.socket | None = None
        self._connected = asyncio.Event()
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._moving: set[str] = set()
        """Of those, what the next keeper is not asked again."""
        self._known: dict[str, _Known] = {}
        self._child = 0
        self._lost = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._claim: Claim | None = None
        self._hello: asyncio.Future[Hello] | None = None

    @property
    def abilities(self) -> Abilities:
        return self._abilities

    @property
    def dial_path(self) -> Path:
        """Where sockets of the replicas' networks come from (`hilbert.kit.inside`)."""
        return self._folder / "dial.sock"

    async def open(self, abilities: Abilities | None = None) -> Abilities:
        """Find out what works here, unless that is known, and have a keeper if anything does. Never raises."""
        self._abilities = abilities or await survey(self._label, self._pool)
        if self._abilities.uplink == "veth":
            why, self._claim = await asyncio.to_thread(
                machine.prepare, self._label, self._pool, self._abilities.programs
            )
            if why:
                failures = {**self._abilities.failures, "veth": why}
                self._abilities = msgspec.structs.replace(self._abilities, uplink="", failures=failures)
        if self._abilities.own:
            try:
                await self._connect()
            except OSError as exc:
                _log.warning("no keeper", reason=str(exc))
            self._life = spawn(self._live(), name="network keeper")
        return self._abilities

    async def close(self) -> None:
        """Let go of the keeper. It stays while replicas have networks."""
        await cancel(self._life)
        for known in list(self._known.values()):
            os.close(known.process)
        kept, self._known = bool(self._known), {}
        self._part()
        if self._child and not kept:
            await asyncio.to_thread(_wait, self._child)
        claim, self._claim = self._claim, None
        if claim is not None and kept:
            claim.release(remove=False)
        elif claim is not None:
            await asyncio.to_thread(machine.tidy, self._label, claim, self._abilities.programs)

    async def attach(self, order: Attach, pid: int, process: int) -> None:
        """Give the network of process `pid` what the order says; `process` is its pidfd, which stays the caller's.

        Waits until the process has a network of its own. Idempotent for a replica. Raises `StartFailed`.
        """
        try:
            async with asyncio.timeout(_ANSWER_MOST):
                await _leaves(pid, process)
                if self._life is None:
                    self._life = spawn(self._live(), name="network keeper")
                await self._connected.wait()
                if order.replica not in self._known:
                    self._known[order.replica] = _Known(order, pid, os.dup(process))
                answer = self._answers[order.replica] = asyncio.get_running_loop().create_future()
                await self._send(self._known[order.replica])
                why: str = await answer
        except (TimeoutError, OSError) as exc:
            self.forget(order.replica)
            raise StartFailed("the replica's network could not be set up in time", detail=str(exc)) from exc
        finally:
            self._answers.pop(order.replica, None)
        if why:
            self.forget(order.replica)
            raise StartFailed("the replica's network could not be set up", detail=why, hint="see 'hilbert doctor'")

    async def move_in(self, spare: str, order: Attach, pid: int, process: int, room: Room | None) -> str:
        """Give what was attached as `spare` to the replica of the order, which is the same but for whose it is.

        `room`: and furnish the sandbox of the process for it. Returns why not, empty when it is done; the spare is of no
        more use then, and nothing is known of the replica. Raises `StartFailed` when it is not known how it went.
        """
        known = self._known.get(spare)
        given: list[int] = []
        try:
            async with asyncio.timeout(_MOVE_MOST):
                if known is None or order != msgspec.structs.replace(
                    known.order, replica=order.replica, namespace=order.namespace
                ):
                    return "it has not the network that is wanted"
                if room is not None:
                    given = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("mnt", "uts")]
                message = MoveIn(spare=spare, replica=order.replica, namespace=order.namespace, room=room)
                answer = self._answers[order.replica] = asyncio.get_running_loop().create_future()
                self._moving.add(order.replica)
                await self._deliver(message, [process, *given])
                why: str = await answer
        except (TimeoutError, OSError) as exc:
            raise StartFailed("a spare sandbox could not be used", detail=str(exc)) from exc
        finally:
            handover.close(given)
            self._moving.discard(order.replica)
            self._answers.pop(order.replica, None)
        if not why:
            self._known[order.replica] = _Known(order, pid, os.dup(process))
            self.forget(spare)
        return why

    def forget(self, replica: str) -> None:
        """The replica has ended. Absence is success."""
        known = self._known.pop(replica, None)
        if known is not None:
            os.close(known.process)

    # The keeper

    async def _live(self) -> None:
        """Have a keeper, whatever happens to it; after it was gone, tell the next one all that it should keep."""
        backoff = Backoff(_AGAIN)
        while True:
            if self._connection is None:
                try:
                    await self._connect()
                except (OSError, TimeoutError) as exc:
                    pause = backoff.failed()
                    _log.warning("no keeper", reason=str(exc), retry_in=pause)
                    await backoff.wait(pause)
                    continue
            backoff.succeeded()
            await self._lost.wait()
            _log.warning("the network keeper has ended; starting another", child=self._child)
            self._part()
            if self._child:
                await asyncio.to_thread(_wait, self._child)
                self._child = 0

    async def _connect(self) -> None:
        """Find the keeper that an earlier control process has left, if it is of this version, or start one."""
        path = self._folder / "keeper.sock"
        for attempt in range(2):
            try:
                self._connection = handover.connect(path)
            except OSError:
                self._child = await asyncio.to_thread(_start, self._config())
                self._connection = handover.connect(path)
            hello = await self._greeting()
            if (hello.protocol, hello.version) == (PROTOCOL, hilbert.__version__) or attempt:
                break
            handover.send(self._connection, msgspec.json.encode(Leave()))
            await self._lost.wait()
            self._part()
        for known in list(self._known.values()):
            with contextlib.suppress(OSError):  # The replica has ended.
                await self._send(known)
        self._connected.set()

    async def _greeting(self) -> Hello:
        connection = self._connection
        if connection is None:
            raise ConnectionError("the keeper is away")
        self._lost.clear()
        loop = asyncio.get_running_loop()
        self._hello = loop.create_future()
        loop.add_reader(connection.fileno(), self._hear)
        async with asyncio.timeout(_ANSWER_MOST):
            return await self._hello

    def _part(self) -> None:
        self._connected.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            connection.close()

    async def _send(self, known: _Known) -> None:
        """Waits while the keeper has no room for more. Raises `OSError`, when the replica or the keeper has gone."""
        process = os.dup(known.process)  # The replica may be forgotten while this waits.
        try:
            network = _network_of(known.pid, process)
            try:
                await self._deliver(known.order, [process, network])
            finally:
                os.close(network)
        finally:
            os.close(process)

    async def _deliver(self, message: Attach | MoveIn, descriptors: Sequence[int]) -> None:
        while True:
            if self._connection is None:
                raise ConnectionError("the network keeper is away")
            try:
                handover.send(self._connection, msgspec.json.encode(message), descriptors)
                return
            except BlockingIOError:
                await asyncio.sleep(_LOOK_EVERY)

    def _hear(self) -> None:
        if self._connection is None:
            return
        try:
            data, _ = handover.receive(self._connection)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        match _decoder.decode(data):
            case Hello() as hello:
                if self._hello is not None and not self._hello.done():
                    self._hello.set_result(hello)
            case Attached(replica=replica, error=error):  # Of `attach` and `move_in`.
                answer = self._answers.get(replica)
                if answer is not None and not answer.done():
                    answer.set_result(error.removeprefix("- "))
                elif error:
                    _log.warning("a replica has lost its network", replica=replica, reason=error)

    def _lose(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.fileno() if self._connection else -1)
        self._connected.clear()
        gone = ConnectionError("the network keeper has ended")
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(gone)
        for replica in self._moving:
            answer = self._answers[replica]
            if not answer.done():
                answer.set_exception(gone)
        self._lost.set()

    def _config(self) -> Config:
        return Config(
            control=str(self._folder / "keeper.sock"),
            inside=str(self._folder / "inside.sock"),
            dial=str(self.dial_path),
            label=self._label,
            pool=str(self._pool.network),
            programs=dict(self._abilities.programs),
        )


def network_label(run: Path) -> str:
    """Four characters for an installation, from its run folder: in names of links and of tables of rules."""
    return hashlib.sha256(bytes(run.absolute())).hexdigest()[:4]


def _start(config: Config) -> int:
    """Start a keeper and wait until it listens; its pid. Raises `OSError`."""
    document = os.memfd_create("hilbert-keeper", os.MFD_CLOEXEC)
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(document, msgspec.json.encode(config))
        os.lseek(document, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            child.command("keeper")[0],
            child.command("keeper"),
            {
                **child.environment(),
                "HILBERT_RUN_DIR": str(Path(config.control).parent),
            },  # Whose it is, for an administrator.
            file_actions=[(os.POSIX_SPAWN_DUP2, document, 0), (os.POSIX_SPAWN_DUP2, write, 1)],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
        )
        os.close(write)
        write = -1
        if os.read(read, 16) != b"ready\n":
            os.waitpid(pid, 0)
            raise OSError("the network keeper did not start; see its error above")
        return pid
    finally:
        handover.close([descriptor for descriptor in (document, read, write) if descriptor >= 0])


def _wait(pid: int) -> None:
    """Until the keeper has ended, some seconds at most: it may still keep what this process does not know of."""
    end = time.monotonic() + _END_MOST
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end and os.waitpid(pid, os.WNOHANG)[0] == 0:
            time.sleep(_LOOK_EVERY)


async def _leaves(pid: int, process: int) -> None:
    """Wait until the process has another network than this one. Raises `OSError` when it has ended, `TimeoutError`."""
    ours = Path("/proc/self/ns/net").stat().st_ino  # noqa: ASYNC240 - no disk
    async with asyncio.timeout(_OWN_MOST):
        while True:
            try:
                if Path(f"/proc/{pid}/ns/net").stat().st_ino != ours:  # noqa: ASYNC240
                    return
            except PermissionError:
                pass  # In the middle of giving up its rights.
            _check_alive(process)
            await asyncio.sleep(_LOOK_EVERY)


def _network_of(pid: int, process: int) -> int:
    """A descriptor of the process's network namespace. Raises `OSError`."""
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check_alive(process)  # Only now it is certain that this was its.
    except BaseException:
        os.close(network)
        raise
    return network


def _check_alive(process: int) -> None:
    """Raise `ProcessLookupError` when the process behind a pidfd has ended."""
    if has_ended(process):
        raise ProcessLookupError("the process has ended")
