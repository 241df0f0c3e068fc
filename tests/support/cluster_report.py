"""What a test's part of a cluster looked like when the test failed, for people to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

Json = dict[str, Any]
_MOST_EVENTS = 25


class Visible(Protocol):
    """The double, or a real cluster."""

    def objects(self, plural: str, namespace: str = "", *, group: str = "") -> list[Json]: ...

    def log(self, pod: Json) -> str: ...

    def is_ours(self, namespace: str) -> bool: ...


def describe(cluster: Visible) -> str:
    """Every namespace of the test with its functions, Deployments, Pods, newest events and last log lines."""
    lines: list[str] = []
    for namespace in cluster.objects("namespaces"):
        name = namespace["metadata"]["name"]
        if cluster.is_ours(name):
            lines += _namespace(cluster, namespace)
    return "\n".join(lines) or "no namespace of the test is there"


def _namespace(cluster: Visible, namespace: Json) -> Iterator[str]:
    metadata = namespace["metadata"]
    name = metadata["name"]
    marks = {key: value for key, value in metadata.get("annotations", {}).items() if not key.startswith("kubectl")}
    yield f"namespace {name}: {namespace.get('status', {}).get('phase', '?')} {marks}"
    for kind, plural, group in (("function", "functions", "openfaas.com"), ("deployment", "deployments", "apps")):
        for item in cluster.objects(plural, name, group=group):
            status = item.get("status") or {}
            counts = {key: status[key] for key in status if key.lower().endswith("replicas")}
            yield f"  {kind} {item['metadata']['name']}: generation {item['metadata'].get('generation')}, {counts}"
            for condition in status.get("conditions") or ():
                yield _condition(condition)
    for pod in cluster.objects("pods", name):
        yield from _pod(cluster, pod)
    events = cluster.objects("events", name)
    for event in events[-_MOST_EVENTS:]:
        about = event.get("involvedObject", {})
        count = f" (x{event['count']})" if event.get("count", 1) > 1 else ""
        yield (
            f"  event {event.get('type')} {about.get('kind')} {about.get('name')}: "
            f"{event.get('reason')}: {event.get('message')}{count}"
        )


def _condition(condition: Json) -> str:
    said = f"{condition.get('reason') or ''} {condition.get('message') or ''}".strip()
    return f"    {condition['type']}={condition['status']} {said}".rstrip()


def _pod(cluster: Visible, pod: Json) -> Iterator[str]:
    status = pod.get("status") or {}
    going = ", being deleted" if "deletionTimestamp" in pod["metadata"] else ""
    images = ", ".join(container["image"] for container in pod["spec"]["containers"])
    yield f"  pod {pod['metadata']['name']}: {status.get('phase')}{going}, node {pod['spec'].get('nodeName')}, {images}"
    for condition in status.get("conditions") or ():
        if condition["status"] != "True":
            yield _condition(condition)
    for container in status.get("containerStatuses", ()):
        for word in ("state", "lastState"):
            for kind, state in container.get(word, {}).items():
                told = {key: state[key] for key in ("reason", "exitCode", "message") if key in state}
                yield f"    container {container['name']}, {word}: {kind} {told or ''}".rstrip()
    for line in cluster.log(pod).splitlines()[-10:]:
        yield f"    log: {line[:300]}"
