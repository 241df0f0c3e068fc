"""`Network` against a real keeper, on a process in a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hilbert.core.errors import StartFailed
from hilbert.kit import handover
from hilbert.kit.inside import COUNT_MOST, Dialer
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.network.survey import Abilities

pytestmark = pytest.mark.anyio

_SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", 5000))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b"hello from inside")
    client.close()
"""


def missing() -> str:
    if shutil.which("nft") is None:
        return "nft is not installed (package nftables)"
    if os.geteuid() != 0:
        return "network namespaces are made by root here; tests/attack/network tries it as an ordinary user"
    return (
        "" if subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0 else "no network namespaces here"
    )


if why := missing():
    pytest.skip(why, allow_module_level=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def network(folder: Path) -> AsyncIterator[Network]:
    """Without a way out: nothing of this machine's own network is touched."""
    network = Network(folder, pool="10.213.0.0/16")
    programs = {"nft": shutil.which("nft") or ""}
    await network.open(Abilities(own=True, programs=programs))
    yield network
    await network.close()
    assert not (folder / "keeper.sock").exists(), "the keeper has ended"


class Apart:
    """A process in a network of its own, which listens on port 5000 there."""

    def __init__(self) -> None:
        command = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, "-c", _SERVER]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.pid = self.process.pid
        self.descriptor = os.pidfd_open(self.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self.descriptor)


@pytest.fixture
def apart() -> Iterator[Apart]:
    apart = Apart()
    yield apart
    apart.close()


@pytest.fixture
async def dialer() -> AsyncIterator[Dialer]:
    dialer = Dialer()
    yield dialer
    dialer.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this user may not have 4096 files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
async def test_a_start_among_a_crowd_whose_descriptors_have_numbers_above_1023(folder: Path, network: Network) -> None:
    """Neither the keeper nor the control process waits with select(2), nor does the library that loads the rules."""
    with contextlib.ExitStack() as open_here:
        for _ in range(1100):  # Each is a descriptor here, and one in the keeper, which greets whoever comes.
            other = open_here.enter_context(handover.connect(folder / "keeper.sock"))
            other.setblocking(True)
            assert handover.receive(other)[0]
        late = Apart()
        open_here.callback(late.close)
        assert late.descriptor > 1023
        order = Attach(replica="r-9", namespace="dev", egress="none", resolves=False)
        await network.attach(order, late.pid, late.descriptor)
        inside = ["nsenter", "-n", "-t", str(late.pid), "nft", "list", "tables"]
        assert b"hilbert" in subprocess.run(inside, capture_output=True, check=True).stdout
        network.forget("r-9")


@pytest.mark.parametrize("gateway", [True, False])
async def test_dialing_into_a_replica(network: Network, dialer: Dialer, apart: Apart, gateway: bool) -> None:
    loop = asyncio.get_running_loop()
    order = Attach(replica="r-1", namespace="dev", egress="none", resolves=False, gateway=gateway, called=True)
    await network.attach(order, apart.pid, apart.descriptor)
    for _ in range(3):  # The socket that was refused can be used again.
        with pytest.raises(ConnectionRefusedError):
            await dialer.dial(f"{network.dial_path}:r-1:5001")
    clients = await asyncio.gather(*(dialer.dial(f"{network.dial_path}:r-1:5000") for _ in range(3 * COUNT_MOST)))
    for client in clients:
        with client:
            assert await loop.sock_recv(client, 100) == b"hello from inside"
    network.forget("r-1")


async def test_what_is_not_there_is_not_dialed(network: Network, dialer: Dialer) -> None:
    apart = Apart()
    order = Attach(replica="r-2", namespace="dev", egress="none", resolves=False, called=True)
    await network.attach(order, apart.pid, apart.descriptor)
    place = f"{network.dial_path}:r-2:5000"
    with await dialer.dial(place):
        pass
    apart.process.kill()
    apart.process.wait()
    network.forget("r-2")
    dialer.forget(place)
    with pytest.raises(OSError, match=r"ended|known|refused"):
        await _dial_until_it_fails(dialer, place)  # The keeper has to hear of its end first.
    with pytest.raises(ConnectionError):
        await dialer.dial(f"{network.dial_path}:unknown:5000")
    with pytest.raises(StartFailed):
        await network.attach(Attach(replica="r", namespace="dev"), apart.pid, apart.descriptor)
    apart.close()


async def test_connections_to_the_gateway_come_with_the_namespace(network: Network, folder: Path, apart: Apart) -> None:
    worker = await _eventually_connected(folder / "inside.sock")
    order = Attach(replica="r-1", namespace="dev", egress="none", resolves=False)
    await network.attach(order, apart.pid, apart.descriptor)
    await network.attach(order, apart.pid, apart.descriptor)  # Nothing changes.
    ask = "import socket; s = socket.create_connection(('127.0.0.80', 8080), 5); s.sendall(b'mine'); print(s.recv(9).decode())"
    asking = subprocess.Popen(
        ["nsenter", f"--net=/proc/{apart.pid}/ns/net", sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True
    )
    message, (descriptor,) = await asyncio.to_thread(_received, worker)
    assert message == b"dev"
    with worker, socket.socket(fileno=descriptor) as connection:
        connection.settimeout(5)
        assert connection.recv(100) == b"mine"
        connection.sendall(b"taken")
    assert asking.communicate(timeout=10)[0] == "taken\n"
    network.forget("r-1")


async def test_a_network_of_a_process_that_has_none_is_refused(network: Network) -> None:
    """It would be this machine's own rules that are changed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    descriptor = os.pidfd_open(process.pid)
    attaching = asyncio.ensure_future(network.attach(Attach(replica="r", namespace="dev"), process.pid, descriptor))
    await asyncio.wait([attaching], timeout=0.3)
    assert not attaching.done(), "it waits for the process to leave"
    process.communicate(b"\n", timeout=10)
    with pytest.raises(StartFailed):
        await attaching
    os.close(descriptor)


async def _eventually_connected(path: Path) -> socket.socket:
    async with asyncio.timeout(10):
        while True:
            try:
                return handover.connect(path)
            except OSError:
                await asyncio.sleep(0.01)


def _received(worker: socket.socket) -> tuple[bytes, list[int]]:
    worker.settimeout(10)
    return handover.receive(worker)


async def _dial_until_it_fails(dialer: Dialer, place: str) -> None:
    while True:
        with await dialer.dial(place):
            dialer.forget(place)
