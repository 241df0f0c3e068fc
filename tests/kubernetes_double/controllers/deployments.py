"""Deployments: from one ReplicaSet to the next, within surge and unavailability, with conditions that say how it goes."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from kubernetes_double.controllers.base import Controller, controller_of, owner_reference
from kubernetes_double.controllers.replicasets import condition
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.selectors import object_selector
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Event, Key, copied

_REVISION = "deployment.kubernetes.io/revision"
_HISTORY = "deployment.kubernetes.io/revision-history"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MOST = "deployment.kubernetes.io/max-replicas"
_HASH = "pod-template-hash"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")


def template_hash(template: Json) -> str:
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:10])


def _plain(template: Json) -> Json:
    labels = {k: v for k, v in ((template.get("metadata") or {}).get("labels") or {}).items() if k != _HASH}
    return {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}}


def _share(value: Any, total: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * total
        return -(-part // 100) if up else part // 100
    return int(value)


def bounds(deployment: Json) -> tuple[int, int]:
    """Surge and unavailability in Pods."""
    spec = deployment["spec"]
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    replicas = int(spec["replicas"])
    surge = _share(rolling.get("maxSurge", 0), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", 0), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def _wanted(sets: list[Json]) -> int:
    return sum(int(rs["spec"]["replicas"]) for rs in sets)


def _observed(sets: list[Json], name: str) -> int:
    return sum(int(rs["status"].get(name, 0)) for rs in sets)


class DeploymentController(Controller):
    """Rolls Deployments out."""

    component = "deployment-controller"

    def begin(self) -> None:
        self.follow("deployments.apps", existing=True)
        self.follow("replicasets.apps", self._owners)

    def _owners(self, event: Event) -> list[Key]:
        owner = controller_of(event.item.obj)
        if owner is not None:
            return [(event.key[0], owner["name"])] if owner["kind"] == "Deployment" else []
        return [key for key, _ in self.store.collection("deployments.apps").items(event.key[0])]

    async def sync(self, key: Key) -> None:
        deployment = self.engine.peek("deployments", *key, group="apps")
        if deployment is None:
            return
        sets = self._sets(deployment)
        if "deletionTimestamp" in deployment["metadata"]:
            new, old = self._split(deployment, sets)
            self._tell(deployment, new, old, progress=False)
            return
        if deployment["spec"].get("paused") or self._is_scaling(deployment, sets):
            new, old = self._split(deployment, sets)
            self._scale_all(deployment, new, old)
            new, old = self._split(deployment, self._sets(deployment))
            self._tell(self._fresh(deployment), new, old, progress=False)
            return
        new = self._newest(deployment, sets)
        deployment = self._fresh(deployment)
        _, old = self._split(deployment, self._sets(deployment))
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, new, old)
        elif not self._grow(deployment, new, old):
            self._shrink(deployment, new, old)
        new_now, old_now = self._split(deployment, self._sets(deployment))
        self._tell(deployment, new_now, old_now, progress=True)

    def _fresh(self, deployment: Json) -> Json:
        return self.engine.find(
            self.resource("deployments", "apps"), deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        ).obj

    def _sets(self, deployment: Json) -> list[Json]:
        uid = deployment["metadata"]["uid"]
        matches = object_selector(deployment["spec"]["selector"])
        found: list[Json] = []
        for _, item in list(self.store.collection("replicasets.apps").items(deployment["metadata"]["namespace"])):
            owner = controller_of(item.obj)
            if owner is not None and owner["uid"] == uid:
                found.append(item.obj)
            elif owner is None and matches(item.labels) and "deletionTimestamp" not in deployment["metadata"]:
                found.append(self._adopt(deployment, item.obj))
        return sorted(found, key=lambda rs: int(rs["metadata"]["annotations"].get(_REVISION, "0")))

    def _adopt(self, deployment: Json, rs: Json) -> Json:
        def change(fresh: Json) -> None:
            fresh["metadata"].setdefault("ownerReferences", []).append(owner_reference(deployment))
            fresh["metadata"].setdefault("annotations", {})

        return self.change(self.resource("replicasets", "apps"), rs, change)

    @staticmethod
    def _split(deployment: Json, sets: list[Json]) -> tuple[Json | None, list[Json]]:
        template = _plain(deployment["spec"]["template"])
        new = next((rs for rs in sets if _plain(rs["spec"]["template"]) == template), None)
        return new, [rs for rs in sets if rs is not new]

    @staticmethod
    def _is_scaling(deployment: Json, sets: list[Json]) -> bool:
        wanted = str(deployment["spec"]["replicas"])
        return any(
            int(rs["spec"]["replicas"]) > 0 and rs["metadata"]["annotations"].get(_DESIRED, wanted) != wanted
            for rs in sets
        )

    def _newest(self, deployment: Json, sets: list[Json]) -> Json:
        new, old = self._split(deployment, sets)
        revision = 1 + max((int(rs["metadata"]["annotations"].get(_REVISION, "0")) for rs in old), default=0)
        if new is None:
            new = self._create_set(deployment, old, revision)
            text = f'Created new replica set "{new["metadata"]["name"]}"'
            self._mark(deployment, str(revision), "NewReplicaSetCreated", text)
            return new
        own = int(new["metadata"]["annotations"].get(_REVISION, "0"))
        if own < revision:
            new = self._revise(new, revision)
        revision = max(own, revision)
        if deployment["metadata"].get("annotations", {}).get(_REVISION) != str(revision):
            text = f'Found new replica set "{new["metadata"]["name"]}"'
            self._mark(deployment, str(revision), "FoundNewReplicaSet", text)
        return new

    def _revise(self, rs: Json, revision: int) -> Json:
        def change(fresh: Json) -> None:
            annotations = fresh["metadata"]["annotations"]
            history = [annotations[_HISTORY]] if annotations.get(_HISTORY) else []
            if annotations.get(_REVISION):
                annotations[_HISTORY] = ",".join([*history, annotations[_REVISION]])
            annotations[_REVISION] = str(revision)

        return self.change(self.resource("replicasets", "apps"), rs, change)

    def _create_set(self, deployment: Json, old: list[Json], revision: int) -> Json:
        spec, metadata = deployment["spec"], deployment["metadata"]
        template = copied(spec["template"])
        digest = template_hash(template)
        template.setdefault("metadata", {}).setdefault("labels", {})[_HASH] = digest
        surge, _ = bounds(deployment)
        replicas = int(spec["replicas"])
        if spec["strategy"]["type"] == "RollingUpdate":
            count = min(replicas, max(replicas + surge - _wanted(old), 0))
        else:
            count = 0 if any(int(rs["status"].get("replicas", 0)) for rs in old) else replicas
        kept = {
            k: v
            for k, v in (metadata.get("annotations") or {}).items()
            if k not in (_REVISION, "kubectl.kubernetes.io/last-applied-configuration")
        }
        selector = copied(spec["selector"])
        selector.setdefault("matchLabels", {})[_HASH] = digest
        inner: Json = {"replicas": count, "selector": selector, "template": template}
        if spec.get("minReadySeconds"):
            inner["minReadySeconds"] = spec["minReadySeconds"]
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{metadata['name']}-{digest}",
                "labels": template["metadata"]["labels"],
                "annotations": {
                    **kept,
                    _DESIRED: str(replicas),
                    _MOST: str(replicas + surge),
                    _REVISION: str(revision),
                },
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": inner,
        }
        made = self.create(self.resource("replicasets", "apps"), metadata["namespace"], body)
        if count:
            text = f"Scaled up replica set {made['metadata']['name']} from 0 to {count}"
            self.event(deployment, "Normal", "ScalingReplicaSet", text)
        return made

    def _mark(self, deployment: Json, revision: str, reason: str, message: str) -> None:
        def change(fresh: Json) -> None:
            fresh["metadata"].setdefault("annotations", {})[_REVISION] = revision
            if reason == "FoundNewReplicaSet" and condition(fresh, "Progressing") is not None:
                return
            _set(fresh["status"], "Progressing", "True", reason, message)

        self.change(self.resource("deployments", "apps"), deployment, change, sub="status")

    # Scaling

    def _scale(self, deployment: Json, rs: Json, count: int) -> bool:
        surge, _ = bounds(deployment)
        replicas = int(deployment["spec"]["replicas"])
        notes = {_DESIRED: str(replicas), _MOST: str(replicas + surge)}
        before = int(rs["spec"]["replicas"])
        if before == count and notes.items() <= rs["metadata"]["annotations"].items():
            return False

        def change(fresh: Json) -> None:
            fresh["spec"]["replicas"] = count
            fresh["metadata"]["annotations"].update(notes)

        self.change(self.resource("replicasets", "apps"), rs, change)
        if before != count:
            way = "up" if count > before else "down"
            text = f"Scaled {way} replica set {rs['metadata']['name']} from {before} to {count}"
            self.event(deployment, "Normal", "ScalingReplicaSet", text)
        return before != count

    def _scale_all(self, deployment: Json, new: Json | None, old: list[Json]) -> None:
        replicas = int(deployment["spec"]["replicas"])
        active = [rs for rs in ([new] if new else []) + old if int(rs["spec"]["replicas"]) > 0]
        if len(active) <= 1:
            only = active[0] if active else (new or (old[-1] if old else None))
            if only is not None:
                self._scale(deployment, only, replicas)
            return
        if new is not None and _observed([new], "availableReplicas") == replicas == int(new["spec"]["replicas"]):
            for rs in old:
                self._scale(deployment, rs, 0)
            return
        surge, _ = bounds(deployment)
        most = replicas + surge if replicas else 0
        total = _wanted(active)
        left = most
        for rs in sorted(active, key=lambda item: -int(item["spec"]["replicas"])):
            share = min(left, round(int(rs["spec"]["replicas"]) * most / total)) if total else 0
            left -= share
            self._scale(deployment, rs, share)

    def _grow(self, deployment: Json, new: Json, old: list[Json]) -> bool:
        replicas, current = int(deployment["spec"]["replicas"]), int(new["spec"]["replicas"])
        if current > replicas:
            return self._scale(deployment, new, replicas)
        surge, _ = bounds(deployment)
        room = replicas + surge - _wanted([new, *old])
        return room > 0 and current < replicas and self._scale(deployment, new, current + min(room, replicas - current))

    def _shrink(self, deployment: Json, new: Json, old: list[Json]) -> None:
        replicas = int(deployment["spec"]["replicas"])
        _, unavailable = bounds(deployment)
        least = replicas - unavailable
        missing = int(new["spec"]["replicas"]) - int(new["status"].get("availableReplicas", 0))
        most = _wanted([new, *old]) - least - missing
        if most <= 0:
            return
        for rs in old:
            wanted, available = int(rs["spec"]["replicas"]), int(rs["status"].get("availableReplicas", 0))
            sick = min(most, wanted - available)
            if sick > 0:
                self._scale(deployment, rs, wanted - sick)
                most -= sick
        _, old = self._split(deployment, self._sets(deployment))
        spare = _observed([new, *old], "availableReplicas") - least
        for rs in old:
            wanted = int(rs["spec"]["replicas"])
            down = min(wanted, spare)
            if down > 0:
                self._scale(deployment, rs, wanted - down)
                spare -= down

    def _recreate(self, deployment: Json, new: Json, old: list[Json]) -> None:
        for rs in old:
            if int(rs["spec"]["replicas"]):
                self._scale(deployment, rs, 0)
        if not _observed(old, "replicas") and not _observed(old, "terminatingReplicas"):
            self._scale(deployment, new, int(deployment["spec"]["replicas"]))

    # Telling

    def _tell(self, deployment: Json, new: Json | None, old: list[Json], *, progress: bool) -> None:
        sets = ([new] if new else []) + old
        replicas = int(deployment["spec"]["replicas"])
        _, unavailable = bounds(deployment)
        available = _observed(sets, "availableReplicas")
        before = deployment["status"]
        status: Json = {"observedGeneration": deployment["metadata"]["generation"]}
        counts = {
            "replicas": _observed(sets, "replicas"),
            "updatedReplicas": _observed([new] if new else [], "replicas"),
            "readyReplicas": _observed(sets, "readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": max(_wanted(sets) - available, 0),
        }
        status.update({name: count for name, count in counts.items() if count})
        status["terminatingReplicas"] = _observed(sets, "terminatingReplicas")
        status["conditions"] = [dict(item) for item in before.get("conditions") or ()]
        if available >= replicas - unavailable:
            _set(status, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            text = "Deployment does not have minimum availability."
            _set(status, "Available", "False", "MinimumReplicasUnavailable", text)
        if progress:
            self._progress(deployment, status, new, counts)
            self._failures(status, new, old)
        if status != before:
            self.change(
                self.resource("deployments", "apps"),
                deployment,
                lambda fresh: fresh.update(status=status),
                sub="status",
            )

    def _progress(self, deployment: Json, status: Json, new: Json | None, counts: dict[str, int]) -> None:
        deadline = deployment["spec"].get("progressDeadlineSeconds")
        current = condition(deployment, "Progressing")
        done = current is not None and current["reason"] == "NewReplicaSetAvailable"
        if deadline is None or (done and counts["replicas"] == counts["updatedReplicas"]):
            return
        replicas = int(deployment["spec"]["replicas"])
        subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
        was = {name: int(deployment["status"].get(name, 0)) for name in _COUNTS}
        if counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == replicas:
            _set(status, "Progressing", "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
            return
        moved = (
            counts["updatedReplicas"] > was["updatedReplicas"]
            or counts["replicas"] - counts["updatedReplicas"] < was["replicas"] - was["updatedReplicas"]
            or counts["readyReplicas"] > was["readyReplicas"]
            or counts["availableReplicas"] > was["availableReplicas"]
        )
        if moved:
            since = current["lastTransitionTime"] if current and current["status"] == "True" else stamp()
            status["conditions"] = [item for item in status["conditions"] if item["type"] != "Progressing"]
            _set(status, "Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", since=since)
            return
        if current is None or current["reason"] == "NewReplicaSetAvailable":
            return
        age = (datetime.now(UTC) - datetime.fromisoformat(current["lastUpdateTime"])).total_seconds()
        late = age - int(deadline) * self.server.pace.deadline_scale
        if current["reason"] == "ProgressDeadlineExceeded" or late > 0:
            _set(status, "Progressing", "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing.")
        else:
            self.enqueue((deployment["metadata"]["namespace"], deployment["metadata"]["name"]), after=0.02 - late)

    @staticmethod
    def _failures(status: Json, new: Json | None, old: list[Json]) -> None:
        failed = condition(new, "ReplicaFailure") if new else None
        if failed is None:
            failed = next((c for c in (condition(rs, "ReplicaFailure") for rs in old) if c is not None), None)
        if failed is None:
            status["conditions"] = [item for item in status["conditions"] if item["type"] != "ReplicaFailure"]
        else:
            _set(status, "ReplicaFailure", failed["status"], failed["reason"], failed["message"])


def _set(status: Json, kind: str, value: str, reason: str, message: str, *, since: str = "") -> None:
    conditions: list[Json] = status.setdefault("conditions", [])
    known = next((item for item in conditions if item["type"] == kind), None)
    if known is not None and known["status"] == value and known["reason"] == reason:
        return
    now = stamp()
    moment = since or (known["lastTransitionTime"] if known is not None and known["status"] == value else now)
    conditions[:] = [item for item in conditions if item["type"] != kind]
    conditions.append(
        {
            "type": kind,
            "status": value,
            "lastUpdateTime": now,
            "lastTransitionTime": moment,
            "reason": reason,
            "message": message,
        }
    )
