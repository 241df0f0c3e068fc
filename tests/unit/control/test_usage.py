"""What namespaces have used: nothing twice, nothing left out, over restarts, removals and new functions of an old name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hilbert.control.usage import DAYS_KEPT, Ledger
from hilbert.core.model import CpuTime, EndpointSet, FunctionSpec, Resources
from hilbert.core.values import FunctionRef, Quantity

F, G = FunctionRef("dev", "f"), FunctionRef("prod", "g")  # type: ignore[arg-type]
GIB = 2**30


class Code(msgspec.Struct):
    count: int
    seconds: float
    buckets: tuple[int, ...] = ()


class Calls(msgspec.Struct):
    codes: dict[int, Code]
    started: int = 0
    inflight: int = 0
    waiting: int = 0
    cold_starts: int = 0
    retries: int = 0
    received: int = 0
    sent: int = 0


def calls(ok: int, seconds: float, failed: int = 0) -> Calls:
    return Calls({200: Code(ok, seconds), 500: Code(failed, 0.0)})


def deployed(ref: FunctionRef, memory: str = "") -> EndpointSet:
    limits = Resources(memory=Quantity.parse(memory)) if memory else None
    return EndpointSet(ref=ref, spec=FunctionSpec(ref=ref, image="i", limits=limits))


class Counted:
    def __init__(self) -> None:
        self.now: dict[FunctionRef, Any] = {}
        self.ledger = Ledger(lambda: self.now, default_memory=GIB // 2)

    def restart(self) -> None:
        kept = self.ledger.dump()
        self.ledger = Ledger(lambda: self.now, default_memory=GIB // 2)
        self.ledger.restore(kept)

    def use(self, day: str, namespace: str) -> tuple[int, float, float]:
        found = self.ledger.days()[day][namespace]
        return found.calls, found.seconds, found.gb_seconds


def test_growth_is_added_once_and_by_day_and_memory() -> None:
    one = Counted()
    one.ledger.follow(deployed(F, "2Gi"))
    one.now = {F: calls(3, 6.0, failed=1), G: calls(2, 4.0)}
    for _ in range(3):
        one.ledger.note("2026-01-01")
    assert one.use("2026-01-01", "dev") == (4, 6.0, 12.0)
    assert one.use("2026-01-01", "prod") == (2, 4.0, 2.0)
    one.now[F] = calls(4, 7.0, failed=1)
    one.ledger.note("2026-01-02")
    assert one.use("2026-01-01", "dev") == (4, 6.0, 12.0)
    assert one.use("2026-01-02", "dev") == (1, 1.0, 2.0)


def test_restarts_count_nothing_twice_and_leave_nothing_out() -> None:
    one = Counted()
    one.now = {F: calls(10, 10.0)}
    one.ledger.note("d")
    one.restart()
    one.ledger.note("d")
    assert one.use("d", "dev")[0] == 10
    one.now = {F: calls(15, 15.0)}  # Went on while nobody looked.
    one.ledger.note("d")
    assert one.use("d", "dev") == (15, 15.0, 7.5)
    one.now = {F: calls(12, 12.0)}  # Counters that a crash has set back are waited for.
    one.ledger.note("d")
    one.now = {F: calls(16, 16.0)}
    one.ledger.note("d")
    assert one.use("d", "dev")[:2] == (16, 16.0)


def test_a_function_that_goes_is_counted_to_its_end_and_a_new_one_from_its_start() -> None:
    one = Counted()
    one.now = {F: calls(10, 10.0)}
    one.ledger.note("d")
    one.now = {F: calls(12, 12.0)}
    one.ledger.gone(EndpointSet(ref=F, spec=None), "d")
    assert one.use("d", "dev")[0] == 12
    one.now = {F: calls(1, 1.0)}
    one.ledger.note("d")
    assert one.use("d", "dev")[:2] == (13, 13.0)


def test_bytes_grow_also_without_a_call_that_ends() -> None:
    one = Counted()
    one.now = {F: msgspec.structs.replace(calls(0, 0.0), received=10, sent=0)}
    one.ledger.note("d")
    one.restart()
    one.now = {F: msgspec.structs.replace(calls(1, 1.0), received=10, sent=500)}
    one.ledger.note("d")
    found = one.ledger.days()["d"]["dev"]
    assert (found.calls, found.received, found.sent) == (1, 10, 500)


def test_cpu_time_is_counted_once_for_each_replica_over_restarts_and_gaps() -> None:
    one = Counted()
    one.ledger.note_cpu([CpuTime(F, "f-1", 2.0), CpuTime(G, "g-1", 1.0)], "d")
    one.restart()
    one.ledger.note_cpu([CpuTime(G, "g-1", 1.5)], "d")  # f-1 could not be measured.
    one.ledger.note_cpu([CpuTime(F, "f-1", 3.0), CpuTime(F, "f-2", 0.25), CpuTime(G, "g-1", 1.5)], "d")
    one.ledger.note_cpu([CpuTime(F, "f-1", 3.5, ended=True), CpuTime(F, "f-3", 0.5, ended=True)], "e")
    assert one.ledger.days()["d"]["dev"].cpu_seconds == 3.25
    assert one.ledger.days()["e"]["dev"].cpu_seconds == 1.0
    assert one.ledger.days()["d"]["prod"].cpu_seconds == 1.5


def test_a_namespace_made_anew_has_used_nothing() -> None:
    """What the old one has used is still owed, and shown to whoever may see everything."""
    one = Counted()
    one.now = {F: calls(3, 3.0), G: calls(1, 1.0)}
    one.ledger.note("d")
    one.now[F] = calls(4, 4.0)
    one.ledger.retire(F.namespace, "e")
    one.now[F] = calls(6, 6.0)  # Its last calls, while it is being removed.
    one.ledger.note("e")
    one.ledger.gone(EndpointSet(ref=F, spec=None), "e")
    one.now = {F: calls(1, 1.0), G: calls(1, 1.0)}
    one.ledger.note("e")
    assert [one.ledger.former()[day]["dev"].calls for day in ("d", "e")] == [3, 3]
    assert ("dev" in one.ledger.days()["d"], one.ledger.days()["e"]["dev"].calls) == (False, 1)
    one.restart()
    one.ledger.retire_others({"prod"}, "f")
    assert [list(spaces) for spaces in one.ledger.days().values() if spaces] == [["prod"]]
    assert sum(spaces["dev"].calls for spaces in one.ledger.former().values()) == 7


def test_a_file_of_an_older_version() -> None:
    """Without CPU time and bytes."""
    one = Counted()
    one.now = {F: msgspec.structs.replace(calls(12, 12.0), received=7)}
    one.ledger.restore(msgspec.msgpack.encode([{"d": {"dev": [10, 10.0, 5.0]}}, {"f.dev": [10, 10.0]}]))
    one.ledger.note("d")
    assert one.use("d", "dev") == (12, 12.0, 6.0)
    assert one.ledger.days()["d"]["dev"].received == 7


@pytest.mark.bound("usage-days")
def test_old_days_go() -> None:
    one = Counted()
    for number in range(DAYS_KEPT + 5):
        one.now = {F: calls(number + 1, 0.0)}
        one.ledger.note(f"{number:06d}")
    assert len(one.ledger.days()) == DAYS_KEPT
    assert "000000" not in one.ledger.days()


@pytest.mark.anyio
async def test_the_api_and_its_filters() -> None:
    from support.api import running

    async with running() as api:
        one = Counted()
        one.now = {F: calls(1, 1.0), G: calls(2, 2.0)}
        one.ledger.note("2026-01-01")
        one.restart()
        assert api.services.ledger is not None
        api.services.ledger.restore(one.ledger.dump())
        both = (await api.call("GET", "/system/usage")).json
        assert [(day["namespace"], day["calls"], day["gbSeconds"]) for day in both] == [
            ("dev", 1, 0.5),
            ("prod", 2, 1.0),
        ]
        assert [day["namespace"] for day in (await api.call("GET", "/system/usage?namespace=dev")).json] == ["dev"]
        assert (await api.call("GET", "/system/usage?from=2026-01-02")).json == []
        assert (await api.call("GET", "/system/usage?to=2025-12-31")).json == []
        assert (await api.call("GET", "/system/usage?from=x")).status == 400
        assert (await api.call("GET", "/system/usage", user="")).status == 401


@pytest.mark.anyio
async def test_an_owner_sees_its_own_and_nothing_of_a_namesake() -> None:
    from support.api import running

    async with running() as api:
        ledger = api.services.ledger
        assert ledger is not None
        tokens = {}
        for name in ("dev", "prod"):
            await api.call("POST", "/system/namespace/", {"name": name, "labels": {"openfaas": "1"}})
        one = Counted()
        one.now = {F: calls(5, 5.0), G: calls(2, 2.0)}
        one.ledger.note("2026-01-01")
        ledger.restore(one.ledger.dump())
        assert (await api.call("DELETE", "/system/namespace/dev", {"name": "dev"})).status == 202
        await api.call("POST", "/system/namespace/", {"name": "dev", "labels": {"openfaas": "1"}})
        for role, name in (("owner", "dev"), ("owner", "prod"), ("developer", "prod")):
            made = await api.call("POST", "/system/tokens", {"name": "t", "role": role, "namespaces": [name]})
            tokens[role, name] = {"Authorization": f"Bearer {made.json['token']}"}
        assert (await api.call("GET", "/system/usage", headers=tokens["owner", "dev"])).json == []
        (seen,) = (await api.call("GET", "/system/usage", headers=tokens["owner", "prod"])).json
        assert (seen["namespace"], seen["calls"]) == ("prod", 2)
        assert (await api.call("GET", "/system/usage?namespace=dev", headers=tokens["owner", "prod"])).status == 400
        assert (await api.call("GET", "/system/usage", headers=tokens["developer", "prod"])).status == 403
        everything = (await api.call("GET", "/system/usage")).json
        assert [(row["namespace"], row["calls"], row["former"]) for row in everything] == [
            ("dev", 5, True),
            ("prod", 2, False),
        ]
