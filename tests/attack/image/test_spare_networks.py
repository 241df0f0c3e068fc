"""Replicas of images that have moved into spare networks are as confined as those that were started for themselves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from hilbert.core.errors import StartFailed
from hilbert.core.model import Namespace, Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.runtimes.oci import spares as spares_module
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

_CONFINEMENT = """
import fcntl, json, os, re, socket, struct
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
first = dict(line.split(":", 1) for line in open("/proc/1/status").read().splitlines())
mounts = [line.split() for line in open("/proc/self/mountinfo")]

plain = lambda path: re.sub(r".*/pipes/.*|:.*", "X", path)

def tried(act):
    try:
        act()
        return "done"
    except OSError as exc:
        return type(exc).__name__

def down():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sH14x", b"lo", 0))

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    links = [name for _, name in socket.if_nameindex()]
    loopback = struct.unpack_from("16xH", fcntl.ioctl(one, 0x8913, struct.pack("40s", b"lo")))[0]
print(json.dumps({
    "status": {name: status[name].split() for name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
        "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt", "Umask", "NSpid")},
    "process 1": {name: first[name].split() for name in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
    "limits": open("/proc/self/limits").read().split("\\n"),
    "descriptors": sorted((int(name), plain(os.readlink("/proc/self/fd/" + name))) for name in os.listdir("/proc/self/fd") if int(name) < 3),
    "more descriptors": sorted(plain(os.readlink("/proc/1/fd/" + name)) for name in os.listdir("/proc/1/fd")) if os.access("/proc/1/fd", os.R_OK) else [],
    "environment": {name: value for name, value in os.environ.items() if name != "HOSTNAME"},
    "host": socket.gethostname(),
    "names": [open("/etc/" + name).read() if os.path.exists("/etc/" + name) else "" for name in ("hosts", "resolv.conf")],
    "folder": os.getcwd(),
    "mounts": sorted((line[4], line[5].split(",")[0]) for line in mounts),
    "maps": open("/proc/self/uid_map").read(),
    "links": links, "loopback": loopback & 0x41,
    "ports": open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read(),
    "tried": {
        "a low port": tried(lambda: socket.socket().bind(("127.0.0.1", 80))),
        "switching the loopback off": tried(down),
        "a setting of the network": tried(lambda: open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w").write("0")),
        "forwarding": tried(lambda: open("/proc/sys/net/ipv4/ip_forward", "w").write("1")),
        "a raw socket": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        "the gateway": tried(lambda: socket.create_connection(("127.0.0.80", 8080), 5).close()),
    },
    "networks": os.stat("/proc/self/ns/net").st_ino == os.stat("/proc/1/ns/net").st_ino,
    "secret": open("/var/openfaas/secrets/token").read(),
}))
"""


@contextlib.asynccontextmanager
async def _running(*, spares: int) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness("image", spares=spares)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()


@pytest.fixture
async def harness() -> AsyncIterator[ProcessHarness]:
    async with _running(spares=2) as harness:
        yield harness


async def _spares(harness: ProcessHarness) -> spares_module.SpareNetworks:
    """Once there are two."""
    spares = harness.runtime.spare_networks
    assert spares is not None
    if spares.usual_network("x") is None:
        pytest.skip("replicas have no networks of their own here")
    spares.want()
    await eventually(lambda: spares.waiting == 2, within=60)
    return spares


async def _ask(harness: ProcessHarness, namespace: str, code: str) -> Any:
    name = NamespaceName(namespace)
    await harness.provider.create_namespace(Namespace(name=name))
    await harness.provider.create_secret(Secret(name, SecretName("token"), namespace.encode()))
    spec = spec_of(harness, "f", namespace, image="run", secrets=(SecretName("token"),))
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        status, answer = await call(endpoint, code.encode())
    assert status == 200, answer
    try:
        return json.loads(answer)
    except ValueError:
        pytest.fail(f"the function said: {answer.decode()}")


async def test_whoever_moves_in_is_confined_as_one_that_was_started_for_itself(harness: ProcessHarness) -> None:
    spares = await _spares(harness)
    waiting = [spare.pid for spare in spares._waiting]
    moved = await _ask(harness, "moved", _CONFINEMENT)
    parents = {process.pid for replica in harness.processes() for process in (replica, *replica.parents())}
    assert parents & set(waiting), "it has not moved in"
    async with _running(spares=0) as other:
        alone = await _ask(other, "alone", _CONFINEMENT)
    assert (alone.pop("secret"), moved.pop("secret")) == ("alone", "moved")
    for found, name in ((alone, "alone"), (moved, "moved")):
        assert found["environment"].pop("OPENFAAS_NAMESPACE") == name
    assert moved["tried"].pop("the gateway") == alone["tried"].pop("the gateway")
    assert "done" not in moved["tried"].values()
    assert moved == alone


async def test_two_that_move_in_see_nothing_of_each_other(harness: ProcessHarness) -> None:
    await _spares(harness)
    look = "import os; print([os.stat('/proc/self/ns/' + kind).st_ino for kind in ('net', 'mnt', 'pid', 'ipc', 'uts', 'user')])"
    first = await _ask(harness, "one", look)
    second = await _ask(harness, "two", look)
    here = [os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("net", "mnt", "pid", "ipc", "uts", "user")]
    assert not [one for one in zip(first, second, here, strict=True) if len(set(one)) < 3]


async def test_a_spare_holds_nothing_of_the_platform_s(harness: ProcessHarness) -> None:
    """No function has ever run in it; what it holds, the replica's first process would have had to close."""
    for spare in (await _spares(harness))._waiting:
        kinds = sorted(os.readlink(f"/proc/{spare.pid}/fd/{name}") for name in os.listdir(f"/proc/{spare.pid}/fd"))
        assert len([kind for kind in kinds if kind.startswith("socket:")]) == 1, kinds
        assert not [kind for kind in kinds if kind.startswith("pipe:") and kinds.count(kind) > 2], kinds
        assert not [kind for kind in kinds if "anon_inode" in kind], kinds


async def test_a_spare_that_is_killed_is_replaced_and_its_network_goes(harness: ProcessHarness) -> None:
    spares = await _spares(harness)
    before = {spare.pid for spare in spares._waiting}
    links = {name for _, name in socket.if_nameindex() if re.fullmatch(r"hb[0-9a-f]{4}[il]-.*", name)}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: spares.waiting == 0)
    again = await _spares(harness)
    assert before.isdisjoint(spare.pid for spare in again._waiting)
    await _ask(harness, "after", "print(1)")
    if os.geteuid() == 0 and links:
        await eventually(lambda: not links <= {name for _, name in socket.if_nameindex()})


async def test_spares_end_with_the_platform_however_it_ends(harness: ProcessHarness) -> None:
    waiting = [spare.pid for spare in (await _spares(harness))._waiting]
    launcher = psutil.Process(psutil.Process(waiting[0]).ppid())
    launcher.kill()
    await eventually(lambda: not any(psutil.pid_exists(pid) for pid in waiting), within=30)
    await _spares(harness)  # Made by the next launcher.
    assert await _ask(harness, "after", "print(1)") == 1


async def test_one_that_cannot_be_moved_into_ends_and_the_replica_is_started_again(
    harness: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [spare.pid for spare in (await _spares(harness))._waiting]
    network = harness.runtime.replicas.network
    assert network is not None
    move_in, failed = network.move_in, []

    async def fails_once(*arguments: Any) -> str:
        if not failed:
            failed.append(1)
            raise StartFailed("a spare sandbox could not be used")
        return await move_in(*arguments)

    monkeypatch.setattr(network, "move_in", fails_once)
    assert await _ask(harness, "after", "print(1)") == 1
    assert failed
    await eventually(lambda: not psutil.pid_exists(waiting[0]))
