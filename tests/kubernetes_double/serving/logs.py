"""pods/log: what containers wrote, from a point on, cut, with times, followed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kubernetes_double.controllers.podlog import PodLog
from kubernetes_double.objects.formats import time_text
from kubernetes_double.serving.app import Answer, Call
from kubernetes_double.serving.options import integer, truth
from kubernetes_double.serving.status import Cause, Json, bad_request, forbidden_field, invalid, invalid_object

if TYPE_CHECKING:
    from kubernetes_double.serving.handlers import Handlers, Target

_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"})


def _causes(call: Call) -> list[Cause]:
    query, causes = call.query, []
    if "tailLines" in query and integer(query, "tailLines") < 0:
        causes.append(invalid("tailLines", integer(query, "tailLines"), "must be greater than or equal to 0"))
    if "limitBytes" in query and integer(query, "limitBytes") < 1:
        causes.append(invalid("limitBytes", integer(query, "limitBytes"), "must be greater than 0"))
    if "sinceSeconds" in query and "sinceTime" in query:
        causes.append(forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif "sinceSeconds" in query and integer(query, "sinceSeconds") < 1:
        causes.append(invalid("sinceSeconds", integer(query, "sinceSeconds"), "must be greater than 0"))
    if query.get("stream") not in (None, "", "All"):
        causes.append(forbidden_field("stream", "may not be specified"))
    return causes


def _since(call: Call) -> datetime | None:
    if call.query.get("sinceTime"):
        text = call.query["sinceTime"]
        try:
            time_text(text, micro=False)
        except ValueError as exc:
            raise bad_request(str(exc)) from exc
        whole, _, fraction = text.rstrip("Z").partition(".")
        return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00" if fraction else f"{whole}+00:00")
    if call.query.get("sinceSeconds"):
        return datetime.now(UTC) - timedelta(seconds=integer(call.query, "sinceSeconds"))
    return None


def _container(pod: Json, call: Call) -> str:
    names = [item["name"] for item in pod["spec"]["containers"]]
    every = [*(item["name"] for item in pod["spec"].get("initContainers") or ()), *names]
    wanted = call.query.get("container", "")
    name = pod["metadata"]["name"]
    if not wanted:
        if len(names) > 1:
            raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")
        return str(names[0])
    if wanted not in every:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted


def _refusal(pod: Json, container: str) -> str:
    """Why there is no log yet; empty when there is one."""
    statuses = pod["status"].get("containerStatuses") or ()
    state = next((item["state"] for item in statuses if item["name"] == container), None)
    subject = f'container "{container}" in pod "{pod["metadata"]["name"]}" is waiting to start: '
    if state is None:
        return subject + ("PodInitializing" if not pod["spec"].get("nodeName") else "ContainerCreating")
    reason = str((state.get("waiting") or {}).get("reason", ""))
    if not reason or reason in ("CrashLoopBackOff", "RunContainerError"):
        return ""
    if reason in _PULLS:
        return subject + "image can't be pulled"
    return subject + reason


async def handle(handlers: Handlers, call: Call, target: Target) -> Answer:
    pod = handlers.engine.find(target.resource, target.namespace, target.name).obj
    causes = _causes(call)
    if causes:
        causes = [Cause(c.reason, c.field or "[]", c.message) for c in causes]
        raise invalid_object("", "PodLogOptions", target.name, causes)
    since = _since(call)
    container = _container(pod, call)
    refusal = _refusal(pod, container)
    if refusal:
        raise bad_request(refusal)
    log = handlers.server.kubelet.log(pod["metadata"]["uid"], container)
    start = len(log.starts) - 1
    if truth(call.query.get("previous", "")):
        start -= 1
        if start < 0:
            raise bad_request(f'previous terminated container "{container}" in pod "{target.name}" not found')
    stream = _lines(log, max(start, 0), call, since)
    if truth(call.query.get("follow", "")):
        return Answer(200, content_type="text/plain", stream=stream)
    return Answer(200, b"".join([piece async for piece in stream]), "text/plain")


async def _lines(log: PodLog, start: int, call: Call, since: datetime | None) -> AsyncIterator[bytes]:
    if start >= len(log.starts):
        return
    lines = list(log.starts[start])
    first = 0
    if since is not None:
        first = next((index for index, (moment, _) in enumerate(lines) if moment >= since), len(lines))
    if "tailLines" in call.query:
        first = max(first, len(lines) - integer(call.query, "tailLines"))
    left = integer(call.query, "limitBytes") if "limitBytes" in call.query else -1
    stamped = truth(call.query.get("timestamps", ""))
    following = truth(call.query.get("follow", ""))
    source = log.follow(start, first) if following else _given(lines[first:])
    async for moment, text in source:
        line = f"{moment.strftime('%Y-%m-%dT%H:%M:%S.%f')}000Z {text}" if stamped else text
        raw = line.encode()
        if left >= 0:
            raw = raw[:left]
            left -= len(raw)
        yield raw
        if left == 0:
            return


async def _given(lines: list[tuple[datetime, str]]) -> AsyncIterator[tuple[datetime, str]]:
    for line in lines:
        yield line
