"""One leader at a time, whatever happens to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from hilbert.kit.aio import ManualClock
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Status, Unreachable
from hilbert.providers.kubernetes.cluster.lease import Leadership
from hilbert.providers.kubernetes.cluster.objects import Lease

pytestmark = pytest.mark.anyio


class OneLease:
    """The API server's part: one Lease with optimistic concurrency."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 1
        self.away: set[str] = set()

    def seen_by(self, who: str) -> Api:
        return cast(Api, _Seen(self, who))

    def put(self, manifest: dict[str, Any]) -> Lease:
        self.version += 1
        body = msgspec.json.decode(msgspec.json.encode(manifest))
        body["metadata"] |= {"uid": "u", "resourceVersion": str(self.version)}
        self.lease = body
        return self.read()

    def read(self) -> Lease:
        if self.lease is None:
            raise Refused(Status(code=404, reason="NotFound"))
        return kinds.LEASES.decode(msgspec.json.encode(self.lease))


class _Seen:
    def __init__(self, store: OneLease, who: str) -> None:
        self.store = store
        self.who = who

    def _reach(self) -> None:
        if self.who in self.store.away:
            raise Unreachable("gone")

    async def get(self, kind: object, name: str, namespace: str) -> Lease:
        self._reach()
        return self.store.read()

    async def find(self, kind: object, name: str, namespace: str) -> Lease | None:
        self._reach()
        return None if self.store.lease is None else self.store.read()

    async def create(self, kind: object, manifest: dict[str, Any], namespace: str) -> Lease:
        self._reach()
        if self.store.lease is not None:
            raise Refused(Status(code=409, reason="AlreadyExists"))
        return self.store.put(manifest)

    async def replace(self, kind: object, manifest: dict[str, Any]) -> Lease:
        self._reach()
        if manifest["metadata"]["resourceVersion"] != str(self.store.version):
            raise Refused(Status(code=409, reason="Conflict"))
        return self.store.put(manifest)


class Pair:
    """Two gateways with one clock."""

    def __init__(self) -> None:
        self.store = OneLease()
        self.clock = ManualClock()
        self.first, self.second = (
            Leadership(self.store.seen_by(name), "p", duration=15, identity=name, clock=self.clock)
            for name in ("first", "second")
        )

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.clock.advance(1)
            await asyncio.sleep(0)
            assert not (self.first.leads and self.second.leads), "two leaders"

    def leader(self) -> str:
        return "first" if self.first.leads else "second" if self.second.leads else ""


@pytest.fixture
async def pair() -> Any:
    pair = Pair()
    yield pair
    await pair.first.stop()
    await pair.second.stop()


async def test_one_of_two_leads_and_keeps_it(pair: Pair) -> None:
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    pair.second.start()
    await pair.pass_time(120)
    assert pair.leader() == "first"
    assert pair.store.lease is not None
    assert pair.store.lease["spec"]["leaseTransitions"] == 0


async def test_the_other_takes_over_from_one_that_vanished(pair: Pair) -> None:
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    pair.second.start()
    await pair.pass_time(10)
    pair.store.away.add("first")
    await pair.pass_time(60)
    assert pair.leader() == "second"
    pair.store.away.clear()
    await pair.pass_time(60)
    assert pair.leader() == "second"


async def test_one_that_cannot_renew_stops_before_another_may_begin(pair: Pair) -> None:
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    told: list[bool] = []
    pair.first.on_change.append(told.append)
    pair.store.away.add("first")
    await pair.pass_time(14)
    assert not pair.first.leads
    assert told == [False]


async def test_giving_back_lets_the_other_in_at_once(pair: Pair) -> None:
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    pair.second.start()
    await pair.pass_time(5)
    await pair.first.stop()
    await pair.pass_time(4)
    assert pair.leader() == "second"


async def test_of_two_that_race_one_wins(pair: Pair) -> None:
    pair.first.start()
    pair.second.start()
    await pair.pass_time(30)
    assert pair.leader() in ("first", "second")


async def test_waiting_for_leadership(pair: Pair) -> None:
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    assert pair.first.leads


@pytest.mark.parametrize("lasts", [86_400, 0, -5, None, 1])
async def test_what_the_lease_of_one_that_vanished_says_keeps_nobody_out_for_ever(
    pair: Pair, lasts: int | None
) -> None:
    """Written by hand, or by a gateway with another setting."""
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    pair.store.away.add("first")
    await pair.pass_time(16)
    assert pair.store.lease is not None
    pair.store.put({**pair.store.lease, "spec": {**pair.store.lease["spec"], "leaseDurationSeconds": lasts}})
    pair.second.start()
    await pair.pass_time(80)
    assert pair.leader() == "second"


async def test_a_lease_that_is_deleted_is_made_again(pair: Pair) -> None:
    pair.first.start()
    await asyncio.wait_for(pair.first.wait(), 5)
    pair.store.lease = None
    await pair.pass_time(20)
    assert pair.leader() == "first"
    assert pair.store.lease is not None
