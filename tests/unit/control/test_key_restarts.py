"""Restarts that a rotation of keys owes: done by whoever leads, even where the process that rotated is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from hilbert.control.key_restarts import OWED_FOR, pay_what_is_owed
from hilbert.core.errors import BackendUnavailable
from hilbert.core.model import FunctionSpec
from hilbert.core.values import DEFAULT_NAMESPACE, FunctionName, FunctionRef, NamespaceName
from hilbert.iam.signing import PUBLISHED_BEFORE, KeyRing
from hilbert.iam.sqlite_shelf import SqliteShelves
from hilbert.kit.aio import cancel, spawn
from hilbert.providers.memory import MemoryProvider
from hilbert.testing.leader import ManualLeader

pytest.importorskip("cryptography", reason="needs the extra sso")


class Restarting:
    """Notes whom it was to restart; refuses while `broken`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.restarted: list[str] = []
        self.broken = False

    async def restart(self, ref: FunctionRef) -> None:
        self.asked.set()
        if self.broken:
            raise BackendUnavailable("not now")
        self.restarted.append(ref.name)


class Bench:
    """Two functions, one of which checks callers itself, and a clock by hand."""

    def __init__(self, folder: Path) -> None:
        self.now = time.time()
        self.provider = MemoryProvider()
        self.restarting = Restarting()
        self.leader = ManualLeader(leads=True)
        self.shelves = SqliteShelves(folder / "keys.db")

    async def deploy(self) -> None:
        for name, env in (("checks", {"jwt_auth": "true"}), ("open", {})):
            ref = FunctionRef(DEFAULT_NAMESPACE, FunctionName(name))
            await self.provider.apply(FunctionSpec(ref=ref, image="i", env=env), create=True)

    async def ring(self) -> KeyRing:
        """As a process that starts has it."""
        made = KeyRing(self.shelves.shelf("issuing_keys"), now=lambda: self.now)
        await made.load()
        return made

    @contextlib.asynccontextmanager
    async def paying(self, ring: KeyRing) -> AsyncIterator[None]:
        async def namespaces() -> Sequence[NamespaceName]:
            return [DEFAULT_NAMESPACE]

        work = pay_what_is_owed(ring, self.provider, self.restarting, self.leader, namespaces, every=0)
        task = spawn(work, name="paying")
        try:
            yield
        finally:
            await cancel(task)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.deploy()
    yield made
    await made.provider.close()
    made.shelves.close()


async def paid(ring: KeyRing) -> None:
    async with asyncio.timeout(20):
        while ring.owes(after=0):
            await asyncio.sleep(0)


@pytest.mark.parametrize("revoke", [False, True])
async def test_a_process_that_dies_after_the_rotation_leaves_the_restarts_to_the_next(
    bench: Bench, *, revoke: bool
) -> None:
    await (await bench.ring()).rotate(revoke=revoke)
    bench.now += OWED_FOR
    after = await bench.ring()
    async with bench.paying(after):
        await paid(after)
    assert bench.restarting.restarted == ["checks"]
    assert not (await bench.ring()).owes(after=0)


async def test_what_fails_stays_owed(bench: Bench) -> None:
    ring = await bench.ring()
    await ring.rotate()
    bench.now += OWED_FOR
    bench.restarting.broken = True
    async with bench.paying(ring):
        async with asyncio.timeout(20):
            await bench.restarting.asked.wait()
        assert ring.owes(after=OWED_FOR)
        bench.restarting.broken = False
        await paid(ring)
    assert bench.restarting.restarted == ["checks"]


async def test_not_while_another_leads_or_whoever_rotated_is_at_it(bench: Bench) -> None:
    ring = await bench.ring()
    assert not ring.owes(after=0)
    await ring.rotate()
    assert ring.owes(after=0)
    assert not ring.owes(after=OWED_FOR)
    bench.now += OWED_FOR
    bench.leader.take()
    async with bench.paying(ring):
        for _ in range(20):
            await asyncio.sleep(0)
    assert not bench.restarting.restarted
    assert ring.owes(after=OWED_FOR)


async def test_the_note_is_no_key(bench: Bench) -> None:
    ring = await bench.ring()
    await ring.rotate()
    again = await bench.ring()
    assert again.jwks() == ring.jwks()
    await again.settled()
    bench.now += PUBLISHED_BEFORE
    assert (await bench.ring()).jwks() == ring.jwks()
