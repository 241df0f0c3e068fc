"""The status of a Pod, as the kubelet writes it."""

from __future__ import annotations

from kubernetes_double.controllers.podlog import PodLog
from kubernetes_double.objects.clock import stamp
from kubernetes_double.serving.status import Json

_NODE_ADDRESS = "127.0.0.1"
_DIGEST = "sha256:" + "0" * 64


def _condition(
    before: dict[str, Json], kind: str, status: str, generation: int, *, reason: str = "", message: str = ""
) -> Json:
    old = before.get(kind)
    moment = old["lastTransitionTime"] if old is not None and old["status"] == status else stamp()
    out: Json = {
        "type": kind,
        "observedGeneration": generation,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": moment,
    }
    if reason:
        out["reason"] = reason
    if message:
        out["message"] = message
    return out


def write(
    pod: Json,
    state: Json,
    *,
    phase: str,
    ready: bool,
    started: bool,
    sandbox: bool,
    why: str,
    address: str,
    restarts: int,
    last: Json,
) -> None:
    """Set the whole status, in place."""
    metadata, spec, old = pod["metadata"], pod["spec"], pod["status"]
    generation = int(metadata.get("generation", 1))
    before = {item["type"]: item for item in old.get("conditions") or ()}
    names = [item["name"] for item in spec["containers"]]
    message = "" if ready or why else f"containers with unready status: [{' '.join(names)}]"
    reason = why or ("" if ready else "ContainersNotReady")
    value = "True" if ready else "False"
    conditions = [
        _condition(before, "PodReadyToStartContainers", "True" if sandbox else "False", generation),
        _condition(before, "Initialized", "True", generation, reason="PodCompleted" if why == "PodCompleted" else ""),
        _condition(before, "Ready", value, generation, reason=reason, message=message),
        _condition(before, "ContainersReady", value, generation, reason=reason, message=message),
        _condition(before, "PodScheduled", "True", generation),
    ]
    status: Json = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": conditions,
        "hostIP": _NODE_ADDRESS,
        "hostIPs": [{"ip": _NODE_ADDRESS}],
        "startTime": old.get("startTime") or stamp(),
        "containerStatuses": [
            _container(item, metadata, state, ready=ready, started=started, restarts=restarts, last=last)
            for item in sorted(spec["containers"], key=lambda item: str(item["name"]))
        ],
        "qosClass": old.get("qosClass", "BestEffort"),
        "resources": old.get("resources") or _total(spec),
    }
    requests = status["resources"].get("requests")
    if requests and ("running" in state or "allocatedResources" in old):
        status["allocatedResources"] = requests
    if address:
        status["podIP"] = address
        status["podIPs"] = [{"ip": address}]
    pod["status"] = status


def _container(
    item: Json, metadata: Json, state: Json, *, ready: bool, started: bool, restarts: int, last: Json
) -> Json:
    out: Json = {
        "name": item["name"],
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": restarts,
        "image": item.get("image", ""),
        "imageID": "",
        "started": started,
    }
    if "running" in state or "terminated" in state or last:
        out["imageID"] = f"{str(item.get('image', '')).partition('@')[0]}@{_DIGEST}"
        out["containerID"] = container_id(metadata["uid"], restarts)
        out["resources"] = item.get("resources") or {}
        if out["resources"].get("requests"):
            out["allocatedResources"] = out["resources"]["requests"]
        out["user"] = {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
    mounts = [_mount(mount) for mount in item.get("volumeMounts") or ()]
    if mounts:
        out["volumeMounts"] = mounts
    return out


def _mount(mount: Json) -> Json:
    shown: Json = {key: mount[key] for key in ("name", "mountPath", "readOnly") if key in mount}
    return {**shown, "recursiveReadOnly": "Disabled"} if mount.get("readOnly") else shown


def _total(spec: Json) -> Json:
    found: Json = {}
    for side in ("requests", "limits"):
        for item in spec["containers"]:
            for name, value in ((item.get("resources") or {}).get(side) or {}).items():
                found.setdefault(side, {})[name] = value
    return found


def container_id(uid: str, restarts: int) -> str:
    return f"containerd://{uid.replace('-', '')}{restarts:032x}"


def terminated(pod: Json, code: int, reason: str, started: str, log: PodLog | None = None) -> Json:
    """`log` is what the container wrote: its end is the message, where the Pod asks for that."""
    policy = pod["spec"]["containers"][0].get("terminationMessagePolicy")
    message = log.tail() if log is not None and code and policy == "FallbackToLogsOnError" else ""
    statuses = pod["status"].get("containerStatuses") or [{}]
    restarts = int(statuses[0].get("restartCount", 0))
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "startedAt": started or stamp(),
            "finishedAt": stamp(),
            "containerID": container_id(pod["metadata"]["uid"], restarts),
            **({"message": message} if message else {}),
        }
    }


def observe(pod: Json) -> None:
    """Note that the newest generation (its deletion) was seen."""
    generation = int(pod["metadata"].get("generation", 1))
    status = pod["status"]
    if "observedGeneration" in status:
        status["observedGeneration"] = generation
    for item in status.get("conditions") or ():
        if "observedGeneration" in item:
            item["observedGeneration"] = generation
