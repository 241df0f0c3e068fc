"""SIGKILL for any process that takes part in the start of an image, at each step: it says why, is tried again, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
from collections.abc import AsyncIterator

import psutil
import pytest

from hilbert.core.isolation import Promise
from hilbert.core.model import FunctionSpec
from hilbert.runtimes.oci import engines
from hilbert.testing.harness import PATIENCE, Table, call, eventually, spec_of, watching
from support.footprint import footprint
from support.killed_starts import STEPS, VICTIMS, Killer
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

WAYS = ("new", "spare", "crun", "runc", "runsc")


def _engine(way: str) -> bool:
    return way in ("crun", "runc", "runsc")


def _chosen() -> list[tuple[str, str]]:
    """Each victim where bubblewrap is used; under the engines, what differs there."""
    return [(way, victim) for way in WAYS for victim in (("outer",) if _engine(way) else VICTIMS)]


@pytest.fixture
async def harness(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessHarness]:
    way = request.param
    if _engine(way):
        if shutil.which(way, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin") is None:
            pytest.skip(f"{way} is not installed (package {way})")
        if os.geteuid() != 0:
            pytest.skip("an ordinary user has no ids to give here; see test_engines.py")
    if way in ("crun", "runc"):
        monkeypatch.setattr(engines, "MANY_IDS", (way, "none"))
    required = frozenset({Promise.KERNEL}) if way == engines.GVISOR else frozenset()
    harness = ProcessHarness("image", spares=2 if way == "spare" else 0, probe_period=2, required=required)
    await harness.start()
    yield harness
    await harness.close()


@pytest.mark.parametrize(
    ("harness", "victim"), _chosen(), indirect=["harness"], ids=[" ".join(one) for one in _chosen()]
)
async def test_a_start_in_which_something_is_killed(
    harness: ProcessHarness, victim: str, request: pytest.FixtureRequest
) -> None:
    """At each step once."""
    way = request.node.callspec.params["harness"]
    await harness.runtime.facts()
    spec = spec_of(harness, annotations={"com.hilbert.user-ids": "many"} if way in ("crun", "runc") else {})
    await _until_spares(harness)
    before = footprint(harness)
    for step in STEPS:
        if (step, victim) == ("launched", "inner"):
            continue  # There is none yet.
        await _until_spares(harness)
        with pytest.MonkeyPatch.context() as patches:
            killer = Killer(harness, step, victim)
            killer.install(patches)
            await _start_and_answer(harness, spec, killer)
        await harness.provider.remove(spec.ref)
        await eventually(lambda: not any(psutil.pid_exists(pid) for pid in killer.killed))  # noqa: B023
        # What the event loop opens once; six leaks would be more.
        spared = {"descriptors here": 16, "links": harness.spares, "networks": harness.spares}

        def left() -> dict[str, int]:
            gc.collect()  # Calls that this test has made and that failed.
            now = footprint(harness)
            return {kind: count for kind, count in now.items() if count > before[kind] + spared.get(kind, 0)}  # noqa: B023

        with contextlib.suppress(AssertionError):
            await eventually(lambda: not left(), every=0.05, within=15)
        assert not left(), step


async def _until_spares(harness: ProcessHarness) -> None:
    spares = harness.runtime.spare_networks
    if not harness.spares or spares is None:
        return
    if spares.usual_network("x") is None:
        pytest.skip("replicas have no networks of their own here")

    def are_there() -> bool:
        spares.want()  # Those that were there may be ending.
        return spares.waiting == harness.spares

    await eventually(are_there, within=60)


async def _start_and_answer(harness: ProcessHarness, spec: FunctionSpec, killer: Killer) -> None:
    """It answers in the end, and what was said before then is true."""
    said: set[str] = set()
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        async with asyncio.timeout(PATIENCE):
            while not (killer.is_done() and await _answers(table, spec)):
                said.add((await harness.provider.get(spec.ref)).message)
                await asyncio.sleep(0.001)
    if killer.victim in ("outer", "inner"):
        assert all("was killed by SIGKILL" in message for message in said - {""}), (killer.step, said)


async def _answers(table: Table, spec: FunctionSpec) -> bool:
    for endpoint in table.endpoints(spec.ref):
        with contextlib.suppress(OSError, IndexError, ValueError, asyncio.IncompleteReadError):
            return await call(endpoint, b"here") == (200, b"here")
    return False
