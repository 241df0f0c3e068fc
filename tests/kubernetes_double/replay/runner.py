"""Sends what was sent, in order, and keeps what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from kubernetes_double.objects.schema import DATA
from kubernetes_double.replay.compare import Comparison, Rules
from kubernetes_double.replay.milestones import SKIPPED
from kubernetes_double.replay.names import Names
from kubernetes_double.server import ApiServer
from kubernetes_double.serving.status import Json

_PATIENCE = 3.0
_QUIET = 0.35
_PAUSE = 900
"""Milliseconds between steps in which the cluster of the transcript came to rest."""
_CONTROLLED = ("/deployments", "/replicasets", "/pods", "/endpointslices", "/resourcequotas")
_HEADERS = ("content-type", "warning", "retry-after", "allow")


@dataclass
class Stream:
    """A watch of ours that runs while later steps happen."""

    step: int
    recorded: Json
    task: asyncio.Task[None]
    events: list[Json] = field(default_factory=list)
    ended: bool = False


@dataclass
class Finding:
    """One difference."""

    step: int
    what: str

    def __str__(self) -> str:
        return f"[{self.step}] {self.what}"


Project = Callable[[Json], Any]
Hook = Callable[["Replay", int, Json], Awaitable[None]]


def transcript(name: str) -> Json:
    found: Json = json.loads((DATA / f"{name}.json").read_text())
    return found


class Replay:
    """One transcript against one server."""

    def __init__(
        self,
        server: ApiServer,
        scenario: Json,
        rules: Rules,
        *,
        hook: Hook | None = None,
        states: Project | None = None,
        prefix: bool = False,
    ) -> None:
        """`states` reduces the objects of watches to the states whose sequence is compared, object by object; with `prefix` as far
        as the shorter one goes, for what goes on for ever."""
        self.server = server
        self.names = Names()
        self.findings: list[Finding] = []
        self.streams: list[Stream] = []
        self.compared = 0
        self._scenario = scenario
        self._rules = rules
        self._comparison = Comparison(rules, self.names)
        self._followed: list[tuple[int, Json, asyncio.Task[httpx2.Response]]] = []
        self._trial: Names | None = None
        self._hook = hook
        self._states = states
        self._prefix = prefix
        self._rests = server.controllers.has("kubelet") and not prefix
        self._tokens: dict[str, str] = {"admin": server.token("admin", groups=("system:masters",))}
        self._http: httpx2.AsyncClient

    async def run(self) -> list[Finding]:
        async with self._client() as self._http:
            steps = self._scenario["steps"]
            before = 0
            for number, step in enumerate(steps):
                await self._close_ended(step.get("at_ms", 0))
                if step.get("at_ms", 0) - before > _PAUSE and self._rests:
                    await self._quiet()
                before = step.get("at_ms", 0)
                if self._hook is not None:
                    await self._hook(self, number, step)
                if "watch" in step:
                    await self._open(number, step, steps[number + 1 :])
                elif "chunks" in step.get("response", {}):
                    await self._follow(number, step)
                elif "request" in step:
                    await self._request(number, step)
                elif "polled until" in step.get("note", ""):
                    await self._quiet()
            await self._close_ended(float("inf"))
            await self._finish_followed()
        return self.findings

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        timeout = httpx2.Timeout(20.0)
        async with httpx2.AsyncClient(base_url=self.server.url, timeout=timeout) as client:
            client.headers["User-Agent"] = "recorder/1.0"
            yield client

    async def _quiet(self) -> None:
        """Wait until nothing has been written for a while."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + _PATIENCE
        version, since = self.server.store.version, loop.time()
        while loop.time() < ends and loop.time() - since < _QUIET:
            await asyncio.sleep(0.01)
            if self.server.store.version != version:
                version, since = self.server.store.version, loop.time()

    # Requests

    def _headers(self, step: Json, recorded: Json) -> dict[str, str]:
        headers = dict(recorded.get("headers") or {})
        headers.setdefault("accept", "application/json")
        user = step.get("user") or "admin"
        if user.startswith("admin"):
            user = "admin"
        if user == "(no credentials)":
            return headers
        headers["authorization"] = f"Bearer {self._tokens.get(user, 'nonsense')}"
        return headers

    def _url(self, recorded: Json) -> str:
        path = quote(self.names.text(recorded["path"]), safe="/:@!$&'()*+,;=-._~")
        query = self.names.request(recorded.get("query") or {})
        pairs = "&".join(f"{quote(key)}={quote(str(value), safe='')}" for key, value in query.items())
        return f"{path}?{pairs}" if pairs else path

    async def _send(self, step: Json) -> httpx2.Response:
        recorded = step["request"]
        content: bytes | None = None
        if "body" in recorded:
            content = json.dumps(self.names.request(recorded["body"])).encode()
        elif "body_text" in recorded:
            content = self.names.text(recorded["body_text"]).encode()
        url = self._url(recorded)
        request = self._http.build_request(
            recorded["method"], url, content=content, headers=self._headers(step, recorded)
        )
        if url.startswith("//"):
            request.url = request.url.copy_with(raw_path=url.encode())
        return await self._http.send(request)

    async def _request(self, number: int, step: Json) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + _PATIENCE
        if step["request"]["method"] != "GET":
            await self.server.controllers.settled(quiet=5)
        is_read = step["request"]["method"] == "GET"
        while True:
            self._learn_streams(step["at_ms"])
            answer = await self._send(step)
            found = list(self._compare(number, step, answer))
            refused = answer.status_code >= 400 > step["response"]["status"]
            if not found or not (is_read or refused) or loop.time() >= ends or number in self._rules.skipped:
                break
            await asyncio.sleep(0.03)
        if self._trial is not None:
            self._adopt(self._trial)
        self._remember(step, answer)
        if number in self._rules.skipped:
            return
        self.compared += 1
        request = step["request"]
        self.findings.extend(Finding(number, f"{request['method']} {request['path']}: {what}") for what in found)

    def _adopt(self, names: Names) -> None:
        self.names, self._trial = names, None
        self._comparison = self._comparison.under(names)

    def _remember(self, step: Json, answer: httpx2.Response) -> None:
        recorded = step["response"].get("body")
        if recorded is None:
            return
        try:
            actual = answer.json()
        except ValueError:
            return
        self.names.learn(recorded, actual)
        if isinstance(actual, dict) and actual.get("kind") == "TokenRequest" and answer.status_code == 201:
            metadata = actual["metadata"]
            user = f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}"
            self._tokens[user] = actual["status"]["token"]

    def _compare(self, number: int, step: Json, answer: httpx2.Response) -> list[str]:
        recorded = step["response"]
        comparison = self._comparison.at(number)
        found: list[str] = []
        if answer.status_code != recorded["status"]:
            found.append(f"status {recorded['status']} != {answer.status_code} {answer.text[:300]}")
        for name in _HEADERS:
            theirs = recorded.get("headers", {}).get(name)
            ours: Any = answer.headers.get_list(name)
            ours = (ours[0] if len(ours) == 1 else ours) or None
            if theirs != ours and not (isinstance(theirs, str) and self.names.text(theirs) == ours):
                found.append(f"header {name}: {theirs!r} != {ours!r}")
        if "body" in recorded:
            try:
                actual = answer.json()
            except ValueError:
                return [*found, f"no JSON: {answer.text[:200]!r}"]
            trial = self.names.copy()
            trial.learn(_generated(recorded["body"]), actual)
            self._trial = trial
            comparison = self._comparison.under(trial).at(number)
            found.extend(comparison.differences(recorded["body"], actual))
        elif "body_text" in recorded:
            found.extend(comparison.differences(recorded["body_text"], answer.text, "text"))
        return found

    # Followed logs

    async def _follow(self, number: int, step: Json) -> None:
        """Begin to read; what came is compared at the end."""
        self.compared += 1
        self._followed.append((number, step, asyncio.create_task(self._send(step))))
        await asyncio.sleep(0.05)

    async def _finish_followed(self) -> None:
        for number, step, task in self._followed:
            answer = await asyncio.wait_for(task, _PATIENCE)
            theirs = sorted("".join(chunk["text"] for chunk in step["response"]["chunks"]).split("\n"))
            ours = sorted(answer.text.split("\n"))
            if theirs != ours:
                self.findings.append(Finding(number, f"followed: {theirs} != {ours}"))

    # Watches

    async def _open(self, number: int, step: Json, later: list[Json]) -> None:
        recorded = step["watch"]
        url = self._url(recorded)
        request = self._http.build_request("GET", url, headers=self._headers(step, recorded))
        answer = await self._http.send(request, stream=True)
        self.compared += 1
        if answer.status_code != step["response"]["status"]:
            await answer.aread()
            self.findings.append(
                Finding(number, f"watch: {step['response']['status']} != {answer.status_code} {answer.text[:300]}")
            )
            return
        if answer.status_code != 200:
            await answer.aread()
            if number not in self._rules.skipped:
                found = self._comparison.differences(step["response"]["body"], answer.json())
                self.findings.extend(Finding(number, f"watch {recorded['path']}: {what}") for what in found)
            return
        stream = Stream(number, step, asyncio.create_task(asyncio.sleep(0)))
        stream.task = asyncio.create_task(self._read(stream, answer))
        self.streams.append(stream)

    async def _read(self, stream: Stream, answer: httpx2.Response) -> None:
        rest = b""
        try:
            async for chunk in answer.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                stream.events.extend(json.loads(line) for line in lines if line)
            stream.ended = True
        finally:
            await answer.aclose()

    async def _close_ended(self, at: float) -> None:
        """End the watches that had ended by then, and compare them."""
        for stream in list(self.streams):
            recorded = stream.recorded
            if recorded["at_ms"] + recorded["ended_ms"] > at:
                continue
            self.streams.remove(stream)
            await self._finish(stream)

    async def _finish(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + _PATIENCE
        by_server = stream.recorded["ended_by"].startswith("server")
        wanted = len(stream.recorded["events"])
        if self._states is not None and self._rests and not by_server:
            await self._quiet()
            ends = 0.0
        while loop.time() < ends and not stream.task.done():
            if not by_server and len(stream.events) >= wanted:
                await asyncio.sleep(0.02)
                break
            await asyncio.sleep(0.005)
        if by_server and not stream.ended and stream.step not in self._rules.skipped:
            self.findings.append(Finding(stream.step, "watch: the server did not end it"))
        stream.task.cancel()
        await asyncio.gather(stream.task, return_exceptions=True)
        if stream.step not in self._rules.skipped:
            self.findings.extend(Finding(stream.step, what) for what in self.compare_events(stream))

    def _sequences(self, events: list[Json], project: Project, *, theirs: bool) -> list[list[Any]]:
        """The states of each object in order, repeats collapsed; the objects themselves in no order."""
        found: dict[str, list[Any]] = {}
        for event in events:
            obj = event["object"]
            reduced = project(obj)
            if reduced is SKIPPED:
                continue
            state = self._comparison.projected(reduced, theirs=theirs)
            kind = "" if event["type"] == "MODIFIED" else event["type"]
            sequence = found.setdefault(obj["metadata"]["name"], [])
            if not sequence or sequence[-1][1] != state or kind:
                sequence.append((kind, state))
        return sorted(found.values(), key=repr)

    def _compare_states(self, stream: Stream, project: Project) -> list[str]:
        found: list[str] = []
        theirs = self._sequences(stream.recorded["events"], project, theirs=True)
        ours = self._sequences(stream.events, project, theirs=False)
        if len(theirs) != len(ours):
            found.append(f"{len(theirs)} objects != {len(ours)}")
        for number, (left, right) in enumerate(zip(theirs, ours, strict=False)):
            if self._prefix:
                shorter = min(len(left), len(right))
                left, right = left[:shorter], right[:shorter]
            if left == right:
                continue
            at = next(
                (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
            )
            found.append(
                f"object {number}: state {at} of {len(left)}, {len(right)}: {left[at : at + 2]} != {right[at : at + 2]}"
            )
        return found

    def _learn_streams(self, until: float) -> None:
        """The nth object that a watch saw then is the nth that it sees now."""
        for stream in self.streams:
            began = stream.recorded["at_ms"]
            theirs = [e for e in stream.recorded["events"] if e["type"] == "ADDED" and began + e["ms"] <= until]
            ours = [e for e in stream.events if e["type"] == "ADDED"]
            for left, right in zip(theirs, ours, strict=False):
                if left["object"]["kind"] in ("Pod", "ReplicaSet", "EndpointSlice"):
                    self.names.learn(_identity(left["object"]), _identity(right["object"]))

    def compare_events(self, stream: Stream) -> list[str]:
        """Every event, in order. Bookmarks carry a version only."""
        path = stream.recorded["watch"]["path"]
        if self._states is not None and path.endswith(_CONTROLLED):
            return self._compare_states(stream, self._states)
        found: list[str] = []
        theirs, ours = stream.recorded["events"], stream.events
        for index, (left, right) in enumerate(zip(theirs, ours, strict=False)):
            self.names.learn(_generated(left["object"]), right["object"])
            if left["type"] != right["type"]:
                found.append(f"event {index}: {left['type']} != {right['type']}")
            self.names.learn(left["object"], right["object"])
            found.extend(
                f"event {index} {left['type']}: {what}"
                for what in self._comparison.at(stream.step).differences(left["object"], right["object"])
            )
        if len(theirs) != len(ours):
            shown = [f"{e['type']} {e['object'].get('metadata', {}).get('name')}" for e in ours]
            found.append(f"{len(theirs)} events != {len(ours)}: {shown}")
        return found


def _identity(obj: Json) -> Json:
    metadata = obj["metadata"]
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key == "pod-template-hash"}
    return {"metadata": {"name": metadata["name"], "uid": metadata["uid"], "labels": labels}}


def _generated(obj: Any) -> Json:
    """Only what carries or quotes a generated name."""
    if isinstance(obj, dict):
        if str(obj.get("kind", "")).endswith("List"):
            kind = str(obj["kind"]).removesuffix("List")
            return {"items": [_generated({"kind": kind, **item}) for item in obj.get("items") or ()]}
        if obj.get("kind") in ("Deployment", "ReplicaSet", "Event", "EndpointSlice"):
            kept: Json = {key: obj[key] for key in ("message", "status", "endpoints") if key in obj}
            if obj["kind"] in ("ReplicaSet", "EndpointSlice"):
                kept["metadata"] = {"name": obj["metadata"]["name"]}
            return kept
        metadata = obj.get("metadata")
        if isinstance(metadata, dict) and metadata.get("generateName"):
            return {"metadata": {"name": metadata["name"]}}
    return {}
