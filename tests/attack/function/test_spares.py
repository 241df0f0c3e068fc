"""Replicas that have moved into spare sandboxes are as far apart, and as confined, as those that were started for themselves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hilbert.core.model import Namespace, Resources, Secret
from hilbert.core.values import NamespaceName, Quantity, SecretName
from hilbert.runtimes.replica.limits import ProcessLimits
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.processes import LEVELS, ProcessHarness, is_of

pytestmark = pytest.mark.anyio

_CONFINEMENT = """
import json, os, re, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
mounts = [line.split() for line in open("/proc/self/mountinfo")]
plain = lambda text: re.sub(r"/hb-\\w+|spare-[0-9a-f]+|[a-z0-9]{10}(?=/)|:\\[\\d+\\]|\\b(pipe|memfd)\\S*", "X", text)
print(json.dumps({
    "status": {name: status[name].split() for name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
        "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk", "SigIgn", "SigCgt", "Umask")},
    "limits": open("/proc/self/limits").read().split("\\n"),
    "descriptors": sorted((int(name), plain(os.readlink("/proc/self/fd/" + name))) for name in os.listdir("/proc/self/fd") if int(name) < 10),
    "environment": {name: plain(value) for name, value in os.environ.items() if name != "HOSTNAME"},
    "host": socket.gethostname() if os.path.isdir("/home/app") else "",
    "names": [open("/etc/" + name).read() for name in ("hosts", "resolv.conf")],
    "folder": plain(os.getcwd()),
    "mounts": sorted(set((line[4], line[5].split(",")[0]) for line in mounts if line[4] != "/opt/layers")) if os.path.isdir("/home/app") else [],
    "written": [os.access(place, os.W_OK) for place in ("/", "/etc/hosts", "/home/app", "/usr", "/proc/self/mem")],
    "secret": open(os.environ["HILBERT_SECRETS_DIR"] + "/token").read(),
}))
"""
_CHANCE = """
import ctypes, json, random, uuid
maps = [line.split("-")[0] for line in open("/proc/self/maps") if "libc" in line or "stack" in line or "heap" in line or "vdso" in line]
print(json.dumps([maps[0], maps[-1], id(object()), hash("a tenant"), random.random(), str(uuid.uuid4()),
    ctypes.c_uint64.from_address(id(random)).value and __import__("tempfile").mktemp(dir="")]))
"""


@contextlib.asynccontextmanager
async def _running(level: str, *, spares: int) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(level, spares=spares)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()
    assert not [process for process in psutil.process_iter() if is_of(process, harness.folder)]


@pytest.fixture(params=LEVELS)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    async with _running(request.param, spares=2) as harness:
        yield harness


async def _wait_for_spares(harness: ProcessHarness) -> None:
    spares = harness.runtime.spares
    if spares is None:
        pytest.skip("no networks of their own here, so no spare sandboxes")
    spares.want()
    await eventually(lambda: spares.waiting == 2, within=60)


async def _ask(
    harness: ProcessHarness, namespace: str, code: str, *, moved_in: bool, limits: Resources | None = None
) -> Any:
    """What the code says in a new replica of that namespace's function, which has or has not moved into a spare sandbox."""
    name = NamespaceName(namespace)
    await harness.provider.create_namespace(Namespace(name=name))
    await harness.provider.create_secret(Secret(name, SecretName("token"), namespace.encode()))
    spec = spec_of(harness, "f", namespace, image="run", secrets=(SecretName("token"),), limits=limits)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        folder = harness.runtime.replicas._monitors[endpoint.replica].data.folder
        assert ("/spare-" in folder) == moved_in
        status, answer = await call(endpoint, code.encode())
    assert status == 200, answer
    try:
        return json.loads(answer)
    except ValueError:
        pytest.fail(f"the function said: {answer.decode()}")


async def test_whoever_moves_in_is_confined_as_one_that_was_started_for_itself(harness: ProcessHarness) -> None:
    await _wait_for_spares(harness)
    moved = await _ask(harness, "moved", _CONFINEMENT, moved_in=True)
    async with _running(harness.level, spares=0) as other:
        alone = await _ask(other, "alone", _CONFINEMENT, moved_in=False)
    assert (alone.pop("secret"), moved.pop("secret")) == ("alone", "moved")
    for found, name in ((alone, "alone"), (moved, "moved")):
        assert found["environment"].pop("OPENFAAS_NAMESPACE") == name
    if isinstance(harness.runtime.machine.limiter, ProcessLimits):
        # The kernel counts all processes of this user then, so what a replica may have depends on when it was started.
        for found in (moved, alone):
            found["limits"] = [line for line in found["limits"] if not line.startswith("Max processes")]
    assert moved == alone


async def test_whoever_moves_in_has_its_limits_from_the_start_and_its_namespace_s_weight(
    harness: ProcessHarness,
) -> None:
    await _wait_for_spares(harness)
    namespace, limits = NamespaceName("limited"), Resources(memory=Quantity.parse("64Mi"), cpu=Quantity.parse("250m"))
    await harness.provider.create_namespace(Namespace(name=namespace))
    spec = spec_of(harness, "f", namespace, image="run", limits=limits)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        data = harness.runtime.replicas._monitors[endpoint.replica].data
        assert "/spare-" in data.folder
        if not data.groups:
            pytest.skip("no control groups here")

        def found(*names: str) -> set[str]:
            files = (Path(group) / name for group in data.groups for name in names)
            return {file.read_text().strip() for file in files if file.is_file()}

        assert str(64 << 20) in found("memory.limit_in_bytes", "memory.max")
        assert found("cpu.cfs_quota_us", "cpu.max") & {"25000", "25000 100000"}
        # For processor time it moves to its namespace once it runs, with all that it has started.
        weighed = [group for group in data.groups if group.endswith(f"/limited/{endpoint.replica}")]
        assert weighed
        await eventually(
            lambda: all(_members(group) == _members(data.groups[0]) for group in data.groups if Path(group).is_dir())
        )
        assert data.pid in _members(weighed[0])
        await harness.provider.remove(spec.ref)
    await eventually(lambda: not any(Path(group).exists() for group in data.groups), within=30)


def _members(group: str) -> set[int]:
    return {int(line) for line in (Path(group) / "cgroup.procs").read_text().split()}


async def test_a_replica_that_may_use_less_than_a_spare_sandbox_does_is_started_for_itself(
    harness: ProcessHarness,
) -> None:
    await _wait_for_spares(harness)
    await _ask(harness, "small", "print(1)", moved_in=False, limits=Resources(memory=Quantity.parse("31Mi")))


async def test_nothing_of_chance_is_shared(harness: ProcessHarness) -> None:
    """Spare sandboxes are processes of their own, not copies of one: addresses, hashes and random numbers differ."""
    await _wait_for_spares(harness)
    first = await _ask(harness, "one", _CHANCE, moved_in=True)
    second = await _ask(harness, "two", _CHANCE, moved_in=True)
    assert len(first) == 7
    assert [one for one, other in zip(first, second, strict=True) if one == other] == []


async def test_a_spare_sandbox_that_is_killed_is_replaced_and_leaves_nothing(harness: ProcessHarness) -> None:
    await _wait_for_spares(harness)
    place = harness.folder / "run" / "r"
    before = {path.name for path in place.iterdir()}
    assert len(before) == 2
    assert harness.runtime.spares is not None
    for spare in harness.runtime.spares._waiting:
        os.kill(spare.pid, signal.SIGKILL)
    await eventually(lambda: before.isdisjoint({path.name for path in place.iterdir()}), within=30)
    await _wait_for_spares(harness)
    await _ask(harness, "after", "print(1)", moved_in=True)


async def test_spares_of_a_control_process_that_was_killed_are_removed(harness: ProcessHarness) -> None:
    await _wait_for_spares(harness)
    place = harness.folder / "run" / "r"
    left = next(path for path in place.iterdir() if (path / "spare").exists())
    await harness.die()
    # As it stands after a kill: nobody has removed the folder, and the process has ended with its gate.
    left.mkdir()
    (left / "spare").touch()
    (left / "secrets").mkdir()
    await harness.start()
    assert not left.exists()
