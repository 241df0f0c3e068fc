"""The capability `Logs`: the logs of a function's Pods, merged in order of time.

The kubelet keeps what it keeps: lines of Pods that are gone are gone. A crashed container's log is read too.
Nothing says which call wrote a line, so the lines of a call are those that name it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from hilbert.core.errors import FunctionNotFound
from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import cancel, spawn
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable, translated
from hilbert.providers.kubernetes.cluster.objects import Pod
from hilbert.providers.kubernetes.cluster.reflector import Key
from hilbert.providers.kubernetes.view.state import State

_QUIET: Final = 3600.0 * 4
"""Seconds that a followed log may say nothing; the kubelet ends such connections itself."""
_MOST_BYTES: Final = 16 * 2**20
"""Per Pod and query."""
_MOST_LINES: Final = 100_000
_BUFFER: Final = 2000
_AGAIN: Final = 1.0
_MOST_TEXT: Final = 64 * 1024


class LogReader:
    """Reads Pod logs. Holds nothing between queries."""

    def __init__(self, api: Api, state: State) -> None:
        self._api = api
        self._state = state

    async def read_logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        ref = query.ref
        self._state.require(ref.namespace)
        key = (str(ref.namespace), str(ref.name))
        function = self._state.function(key)
        if function is None:
            raise FunctionNotFound(f"function {ref} not found")
        pods = self._pods(key, query.instance)
        stored = await self._stored(query, pods)
        for line in stored:
            yield line
        if query.follow:
            newest = {pod.metadata.uid: 0 for pod in pods}
            uids = {pod.metadata.name: pod.metadata.uid for pod in pods}
            for line in stored:
                newest[uids[line.instance]] = line.timestamp_ns
            async for line in self._follow(query, function.metadata.uid, newest):
                yield line

    def _pods(self, key: Key, instance: str) -> Sequence[Pod]:
        return [pod for pod in self._state.pods(key) if not instance or pod.metadata.name == instance]

    async def _stored(self, query: LogQuery, pods: Sequence[Pod]) -> list[LogLine]:
        with translated():
            found = await asyncio.gather(*(self._pod_lines(query, pod) for pod in pods))
        lines = list(heapq.merge(*found, key=lambda line: line.timestamp_ns))
        return lines[-query.tail :] if query.tail else lines[-_MOST_LINES:]

    async def _pod_lines(self, query: LogQuery, pod: Pod) -> list[LogLine]:
        lines: list[LogLine] = []
        statuses = pod.status.container_statuses or ()
        if any(status.name == query.ref.name and status.restart_count for status in statuses):
            lines += await self._one(query, pod, previous=True)
        lines += await self._one(query, pod, previous=False)
        return lines

    async def _one(self, query: LogQuery, pod: Pod, *, previous: bool) -> list[LogLine]:
        params = {"container": str(query.ref.name), "timestamps": "true", "limitBytes": str(_MOST_BYTES)}
        if query.tail and not query.call_id:
            params["tailLines"] = str(min(query.tail, _MOST_LINES))
        if query.since is not None:
            params["sinceTime"] = query.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if previous:
            params["previous"] = "true"
        try:
            body = await self._api.request(
                "GET", kinds.PODS.path(pod.metadata.namespace, pod.metadata.name, "log"), params=params
            )
        except Refused as exc:
            if exc.code in (400, 404, 500):
                return []  # Not started yet, just gone, or its node is.
            raise
        lines = [parse_line(query.ref, pod.metadata.name, raw) for raw in body.split(b"\n") if raw]
        floor = int(query.since.timestamp() * 1e9) if query.since is not None else 0
        return [line for line in lines if line.timestamp_ns >= floor and query.takes("", line.text)]

    async def _follow(self, query: LogQuery, uid: str, newest: dict[str, int]) -> AsyncIterator[LogLine]:
        """Lines as they come, from every Pod that is there or comes, until the function goes."""
        key = (str(query.ref.namespace), str(query.ref.name))
        lines: asyncio.Queue[LogLine] = asyncio.Queue(_BUFFER)
        readers: dict[str, asyncio.Task[None]] = {}
        changed = asyncio.Event()

        def on_change(which: Key) -> None:
            if which == key:
                changed.set()

        self._state.on_function.append(on_change)
        changed.set()
        waiting: asyncio.Task[bool] | None = None
        taking: asyncio.Task[LogLine] | None = None
        try:
            while True:
                if changed.is_set():
                    changed.clear()
                    function = self._state.function(key)
                    if function is None or function.metadata.uid != uid:
                        return
                    for pod in self._pods(key, query.instance):
                        pod_uid = pod.metadata.uid
                        if pod_uid not in readers:
                            work = self._follow_pod(query, pod, lines, newest.get(pod_uid, 0))
                            readers[pod_uid] = spawn(work, name=f"log {pod.metadata.name}")
                waiting = waiting or spawn(changed.wait(), name="log changes")
                taking = taking or spawn(lines.get(), name="log lines")
                await asyncio.wait((waiting, taking), return_when=asyncio.FIRST_COMPLETED)
                if taking.done():
                    yield taking.result()
                    taking = None
                if waiting.done():
                    waiting = None
        finally:
            self._state.on_function.remove(on_change)
            await cancel(waiting, taking, *readers.values())

    async def _follow_pod(self, query: LogQuery, pod: Pod, lines: asyncio.Queue[LogLine], newest: int) -> None:
        """One Pod, through restarts of its container, until it is gone."""
        key = (str(query.ref.namespace), str(query.ref.name))
        path = kinds.PODS.path(pod.metadata.namespace, pod.metadata.name, "log")
        while any(known.metadata.uid == pod.metadata.uid for known in self._state.pods(key)):
            params = {"container": str(query.ref.name), "timestamps": "true", "follow": "true"}
            since = newest // 1_000_000_000 if newest else None
            if since is not None:
                params["sinceTime"] = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            elif query.since is not None:
                params["sinceTime"] = query.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            with suppress(Refused, Unreachable):
                async with self._api.stream(path, params, quiet=_QUIET) as source:
                    async for raw in source:
                        if not raw:
                            continue
                        line = parse_line(query.ref, pod.metadata.name, raw)
                        if line.timestamp_ns > newest:
                            newest = line.timestamp_ns
                            if query.takes("", line.text):
                                await lines.put(line)
            await asyncio.sleep(_AGAIN)


def parse_line(ref: FunctionRef, instance: str, raw: bytes) -> LogLine:
    """`RFC3339NANO TEXT`, as the kubelet writes it with `timestamps=true`. A line without a time gets 0."""
    stamp, _, text = raw.partition(b" ")
    nanoseconds = parse_time(stamp.decode("ascii", "replace"))
    if nanoseconds is None:
        nanoseconds, text = 0, raw
    return LogLine(ref, instance, nanoseconds, text[:_MOST_TEXT].decode("utf-8", "replace"))


def parse_time(stamp: str) -> int | None:
    """RFC 3339 with up to nine decimals, as Unix nanoseconds; None for anything else."""
    head, dot, rest = stamp.partition(".")
    digits = rest.rstrip("Z+-:0123456789") if dot else ""
    fraction, zone = "", ""
    if dot:
        fraction = rest[: next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))]
        zone = rest[len(fraction) :]
    elif head.endswith("Z"):
        head, zone = head[:-1], "Z"
    if digits or len(fraction) > 9:
        return None
    try:
        moment = datetime.fromisoformat(head + zone)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
