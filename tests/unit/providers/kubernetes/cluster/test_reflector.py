"""The reflector against a scripted API server that does everything wrong that servers and networks do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from hilbert.kit.aio import cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api, Page
from hilbert.providers.kubernetes.cluster.errors import Refused, Status, Unreachable
from hilbert.providers.kubernetes.cluster.objects import Object
from hilbert.providers.kubernetes.cluster.reflector import Key, Reflector

pytestmark = pytest.mark.anyio


class HastyClock:
    """Sleeps are noted and skipped."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Server:
    """A store with versions; what its watches tell is up to `tell`."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[int, str, dict[str, Any]]] = []
        self.lists = 0
        self.failures: list[Exception] = []
        self.watched_from: list[str] = []
        self.changed = asyncio.Event()
        self.oldest = 0
        self.page_size = 500
        self.stale_tokens = False
        self.tell: Callable[[list[bytes]], list[bytes]] = lambda lines: lines
        self.ends_after = 1_000_000
        self.cuts = 0
        self.on_return: list[Callable[[], None]] = []

    def write(self, name: str, **labels: str) -> dict[str, Any]:
        kind = "MODIFIED" if name in self.objects else "ADDED"
        uid = self.objects[name]["metadata"]["uid"] if kind == "MODIFIED" else f"uid-{self.version + 1}"
        self.version += 1
        metadata = {"name": name, "namespace": "n", "uid": uid, "resourceVersion": str(self.version), "labels": labels}
        self.objects[name] = {"metadata": metadata}
        self._log(kind, self.objects[name])
        return self.objects[name]

    def remove(self, name: str) -> None:
        gone = self.objects.pop(name)
        self.version += 1
        self._log("DELETED", {"metadata": {**gone["metadata"], "resourceVersion": str(self.version)}})

    def cut(self) -> None:
        """End all watches."""
        self.cuts += 1
        self.changed.set()

    def _log(self, kind: str, item: dict[str, Any]) -> None:
        self.log.append((self.version, kind, item))
        self.changed.set()

    async def page(
        self, kind: object, namespace: str = "", *, selector: str = "", fields: str = "", limit: int = 0, more: str = ""
    ) -> Page:
        self.lists += 1
        if self.failures:
            raise self.failures.pop(0)
        if more and self.stale_tokens:
            raise Refused(Status(code=410, reason="Expired"))
        items = [msgspec.Raw(msgspec.json.encode(item)) for _, item in sorted(self.objects.items())]
        start = int(more or 0)
        size = min(limit, self.page_size) if limit else len(items)
        rest = str(start + size) if start + size < len(items) else ""
        return Page(items=tuple(items[start : start + size]), version=str(self.version), more=rest)

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, quiet: float, begins: float, accept: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self.watched_from.append(params["resourceVersion"])
        if self.failures:
            raise self.failures.pop(0)
        if int(params["resourceVersion"]) < self.oldest:
            error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            yield _iterate([event("ERROR", error)])
            return
        yield self._lines(int(params["resourceVersion"]))

    async def _lines(self, since: int) -> AsyncIterator[bytes]:
        told, cuts = 0, self.cuts
        while self.cuts == cuts:
            self.changed.clear()
            lines = [event(kind, item) for version, kind, item in self.log if version > since]
            since = self.version
            for line in self.tell(lines):
                yield line
                told += 1
                if told >= self.ends_after:
                    return
            await self.changed.wait()


async def _iterate(lines: list[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def event(kind: str, item: object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": item})


class Rig:
    def __init__(self, server: Server, **given: Any) -> None:
        self.server = server
        self.clock = HastyClock()
        self.changes: list[tuple[Key, str, str]] = []
        self.reflector: Reflector[Object] = Reflector(
            cast(Api, server), kinds.QUOTAS, self._note, clock=self.clock, **given
        )
        self.task = spawn(self.reflector.run(), name="reflector under test")

    def _note(self, key: Key, old: Object | None, new: Object | None) -> None:
        versions = [item.metadata.resource_version if item is not None else "" for item in (old, new)]
        self.changes.append((key, versions[0], versions[1]))

    def names(self) -> set[str]:
        return {item.metadata.name for item in self.reflector}

    def picture(self) -> dict[str, str]:
        return {item.metadata.name: item.metadata.resource_version for item in self.reflector}

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not met():
                await asyncio.sleep(0.001)

    async def until_in_step(self) -> None:
        truth = {name: item["metadata"]["resourceVersion"] for name, item in self.server.objects.items()}
        await self.until(lambda: self.picture() == truth)


@pytest.fixture
async def server() -> Server:
    return Server()


@asynccontextmanager
async def running(server: Server, **given: Any) -> AsyncIterator[Rig]:
    rig = Rig(server, **given)
    try:
        await asyncio.wait_for(rig.reflector.synced.wait(), 10)
        yield rig
    finally:
        await cancel(rig.task)


async def test_lists_in_pages_then_watches(server: Server) -> None:
    server.page_size = 2
    for name in "abcde":
        server.write(name)
    async with running(server) as rig:
        assert rig.names() == set("abcde")
        server.write("f")
        server.remove("a")
        await rig.until(lambda: rig.names() == set("bcdef"))
        assert server.lists == 3
        assert server.watched_from == ["105"]


async def test_page_token_that_expires_starts_over_in_one_piece(server: Server) -> None:
    server.page_size, server.stale_tokens = 2, True
    for name in "abcde":
        server.write(name)
    async with running(server) as rig:
        assert rig.names() == set("abcde")


async def test_goes_on_from_the_last_version_after_an_end(server: Server) -> None:
    server.ends_after = 1
    async with running(server) as rig:
        for name in "abc":
            server.write(name)
            await rig.until(lambda name=name: name in rig.names())  # type: ignore[misc] - bound at once
        await rig.until(lambda: server.watched_from[-1] == "103")
        assert server.lists == 1


async def test_too_old_lists_again_and_tells_only_what_changed(server: Server) -> None:
    server.write("stays")
    server.write("goes")
    async with running(server) as rig:
        rig.changes.clear()
        server.tell = lambda _: []
        server.remove("goes")
        server.write("comes")
        server.oldest = server.version
        server.cut()
        await rig.until_in_step()
        assert server.lists == 2
        assert {key[1] for key, _, _ in rig.changes} == {"goes", "comes"}


async def test_duplicates_and_stale_events_change_nothing(server: Server) -> None:
    async with running(server) as rig:
        first = server.write("a", step="1")
        server.write("a", step="2")
        await rig.until_in_step()
        count = len(rig.changes)
        server.tell = lambda lines: [event("MODIFIED", first), event("ADDED", first), event("DELETED", first), *lines]
        server.write("b")
        await rig.until(lambda: "b" in rig.names())
        assert rig.picture()["a"] == "102"
        assert len(rig.changes) == count + 1


async def test_late_event_does_not_bring_back_the_dead(server: Server) -> None:
    async with running(server) as rig:
        server.write("a")
        late = server.write("a")
        await rig.until_in_step()
        server.remove("a")
        await rig.until(lambda: not rig.names())
        server.tell = lambda lines: [event("MODIFIED", late), *lines]
        server.write("b")
        await rig.until(lambda: "b" in rig.names())
        assert rig.names() == {"b"}


async def test_deletion_of_the_predecessor_leaves_the_successor(server: Server) -> None:
    async with running(server) as rig:
        server.write("a")
        await rig.until_in_step()
        server.tell = lambda lines: list(reversed(lines))
        server.remove("a")
        server.write("a")
        await rig.until_in_step()
        assert rig.names() == {"a"}


async def test_own_writes_are_seen_at_once_and_survive_an_older_list(server: Server) -> None:
    async with running(server, resync=5.0) as rig:
        server.tell = lambda _: []
        done = kinds.QUOTAS.decode(msgspec.json.encode(server.write("mine")))
        rig.reflector.observe(done)
        assert rig.names() == {"mine"}
        rig.reflector.forget(done)
        assert rig.names() == set()
        rig.reflector.observe(done)
        assert rig.names() == set(), "what we deleted does not come back by an answer that was on its way"


async def test_retry_after_is_kept(server: Server) -> None:
    server.failures = [Refused(Status(code=429, reason="TooManyRequests"), retry_after=7.0)]
    async with running(server) as rig:
        assert rig.clock.slept[0] >= 7.0


async def test_backs_off_while_the_server_is_away_and_keeps_the_picture(server: Server) -> None:
    server.write("a")
    server.ends_after = 1
    async with running(server) as rig:
        server.failures = [Unreachable("connection refused")] * 12
        server.write("b")
        await rig.until(lambda: not server.failures)
        server.write("c")
        await rig.until_in_step()
        waits = rig.clock.slept
        assert max(waits) > 5 * min(waits)
        assert all(wait <= 36.0 for wait in waits)
        assert rig.reflector.failure == ""


AWAY = Unreachable("connection refused")
LOADING = Refused(Status(code=403, reason="Forbidden", message="RBAC: clusterrole not found"))
EXPIRED = Refused(Status(code=410, reason="Expired"))


@pytest.mark.parametrize("away", [1, 12, 500])
@pytest.mark.parametrize("answers", [[], [LOADING], [EXPIRED], [LOADING] * 3, [LOADING] * 8 + [EXPIRED]])
async def test_a_server_that_comes_back_is_seen_within_two_seconds(
    server: Server, away: int, answers: list[Exception]
) -> None:
    """However long it was away, and whatever it answers before it is really back."""
    server.write("a")
    async with running(server) as rig:
        server.failures = [AWAY] * away + answers
        server.write("b")
        server.oldest = server.version
        server.cut()
        await rig.until_in_step()
        assert max(rig.clock.slept[: away + 1]) <= 1.0, "while nothing answers"
        assert max(rig.clock.slept) <= 2.0, "and while it starts"


async def test_refusals_that_last_are_asked_about_ever_less_often(server: Server) -> None:
    async with running(server) as rig:
        server.failures = [LOADING] * 200
        server.cut()
        await rig.until(lambda: not server.failures)
        first_minute = [wait for wait in rig.clock.slept if wait <= 2.0]
        assert sum(first_minute) <= 65.0
        assert max(rig.clock.slept) > 15.0


async def test_an_expired_version_again_and_again_is_no_busy_loop(server: Server) -> None:
    server.write("a")
    async with running(server) as rig:
        server.oldest = server.version + 1_000
        server.cut()
        lists = server.lists
        await rig.until(lambda: server.lists > lists + 20)
        assert sum(rig.clock.slept) >= 19 * 0.05


async def test_forbidden_keeps_the_picture_and_says_why(server: Server) -> None:
    server.write("a")
    server.ends_after = 1
    async with running(server) as rig:
        server.failures = [Refused(Status(code=403, reason="Forbidden", message="no watch for you"))] * 10_000
        server.cut()
        await rig.until(lambda: "no watch for you" in rig.reflector.failure)
        assert "a" in rig.names()


async def test_store_that_was_put_back_wins(server: Server) -> None:
    for name in "abc":
        server.write(name)
    async with running(server) as rig:
        server.version = 50
        server.log.clear()
        server.objects = {}
        server.write("a")
        server.failures = [Refused(Status(code=410))]
        server.cut()
        await rig.until_in_step()
        server.write("b")
        await rig.until_in_step()


async def test_unreadable_object_hides_no_other(server: Server) -> None:
    server.write("good")
    server.objects["bad"] = {"metadata": {"name": 7}}
    async with running(server) as rig:
        assert rig.names() == {"good"}


@pytest.mark.parametrize("dice", range(12))
async def test_converges_whatever_the_network_does(server: Server, dice: int) -> None:
    """Events are dropped, doubled, delayed and shuffled; watches break; lists fail; versions expire."""
    chance = random.Random(dice)
    held: list[bytes] = []

    def mangle(lines: list[bytes]) -> list[bytes]:
        told = held + [line for line in lines for _ in range(chance.choice((0, 1, 1, 2)))]
        held.clear()
        if chance.random() < 0.3 and told:
            held.append(told.pop())
        if chance.random() < 0.5:
            chance.shuffle(told)
        return told

    server.tell = mangle
    server.ends_after = 5
    async with running(server, resync=60.0) as rig:
        for _ in range(150):
            name = chance.choice("abcdefgh")
            if name in server.objects and chance.random() < 0.4:
                server.remove(name)
            else:
                server.write(name)
            if chance.random() < 0.1:
                server.failures.append(
                    chance.choice((Unreachable("reset"), Refused(Status(code=429), retry_after=1.0)))
                )
            if chance.random() < 0.05:
                server.oldest = server.version - 3
            await asyncio.sleep(0)
        server.tell = lambda lines: lines
        rig.clock.time += 100.0
        server.ends_after = 1
        server.write("last")
        await rig.until_in_step()
