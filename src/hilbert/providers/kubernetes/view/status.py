"""What a function is doing, in words, from what the cluster says about its Deployment and Pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from hilbert.core.model import Phase
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.objects import Condition, ContainerStatus, Deployment, FunctionObject, Pod

_IMAGE: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_START: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CreateSandboxError"}
)
_UNREADY_FOR: Final = timedelta(seconds=10)
"""A container that runs for this long and does not answer its probe is worth a word."""
_LONGEST: Final = 1000
_LAST_LINES: Final = 3


class Condensed(msgspec.Struct, frozen=True):
    """The part of a function's status that takes judgement."""

    phase: Phase
    ready_generation: int
    reason: str = ""
    message: str = ""


def condense(
    deployment: Deployment | None, pods: Sequence[Pod], *, generation: int, available: int, now: datetime
) -> Condensed:
    """`generation` is the Function's, `available` counts ready endpoints, `now` has a time zone."""
    alive = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    ready_generation = max((_generation(pod) for pod in alive if _is_ready(pod)), default=0)
    wanted = deployment.replicas if deployment is not None else 1
    if wanted == 0:
        return Condensed(Phase.IDLE, ready_generation)
    if ready_generation >= generation and available:
        return Condensed(Phase.READY, ready_generation)
    reason, message = _trouble(deployment, [pod for pod in alive if _generation(pod) >= generation], now)
    phase = Phase.FAILED if reason else Phase.UPDATING if available else Phase.STARTING
    return Condensed(phase, ready_generation, reason, message)


def stalled(function: FunctionObject) -> tuple[str, str] | None:
    """Why the leading gateway cannot deploy this generation, as a word and a sentence, from what it wrote down."""
    for condition in (function.status or {}).get("conditions") or ():
        if (
            isinstance(condition, Mapping)
            and condition.get("type") == "Stalled"
            and condition.get("status") == "True"
            and condition.get("observedGeneration") == function.metadata.generation
        ):
            return str(condition.get("reason", "")), str(condition.get("message", ""))[:_LONGEST]
    return None


def _trouble(deployment: Deployment | None, pods: Iterable[Pod], now: datetime) -> tuple[str, str]:
    for pod in sorted(pods, key=lambda pod: pod.metadata.name):
        reason, message = _pod_trouble(pod, now)
        if reason:
            return reason, message[:_LONGEST]
    for condition in (deployment.status.conditions or ()) if deployment is not None else ():
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return _refused(condition.message or "")
        if condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded":
            return (
                "TooSlow",
                "the new version did not become ready in time; the previous version, if any, keeps serving",
            )
    return "", ""


def _refused(text: str) -> tuple[str, str]:
    """Why the cluster takes no Pod."""
    said = text[:_LONGEST]
    if "exceeded quota" in text:
        return "QuotaExceeded", f"the namespace's quota is used up: {said}"
    if "violates PodSecurity" in text:
        return "PodSecurity", f"the namespace's Pod Security level does not allow the Pod: {said}"
    if "LimitRange" in text or "maximum" in text or "minimum" in text:
        return "LimitExceeded", f"the namespace's limits do not allow the Pod: {said}"
    return "PodRefused", f"the cluster rejected the Pod: {said}"


def _pod_trouble(pod: Pod, now: datetime) -> tuple[str, str]:
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return "Unschedulable", f"no node can run the Pod: {scheduled.message or scheduled.reason or 'no reason given'}"
    if pod.status.phase == "Failed" and pod.status.reason:
        return pod.status.reason, pod.status.message or f"the Pod failed: {pod.status.reason}"
    for container in pod.status.container_statuses or ():
        found = _container_trouble(container, now)
        if found[0]:
            return found
    return "", ""


def _container_trouble(container: ContainerStatus, now: datetime) -> tuple[str, str]:
    waiting = container.state.waiting
    reason = (waiting.reason or "") if waiting is not None else ""
    said = (waiting.message or reason) if waiting is not None else ""
    if reason in _IMAGE:
        return "ImageUnavailable", f"the image cannot be pulled: {said}"
    if reason in _START:
        return "StartFailed", f"the container cannot be started: {said}"
    ended = container.state.terminated or (container.last_state.terminated if not container.ready else None)
    if ended is not None and (reason == "CrashLoopBackOff" or container.state.terminated or container.restart_count):
        how = f"exited with status {ended.exit_code}"
        if ended.reason == "OOMKilled":
            word, how = "OutOfMemory", "was killed for using more memory than its limit"
        elif ended.reason in ("StartError", "ContainerCannotRun"):
            word, how = "StartFailed", "could not be started"
        else:
            word = "CrashLoop"
        lines = [line for line in (ended.message or "").splitlines() if line.strip()][-_LAST_LINES:]
        tail = f"; last output: {' | '.join(lines)}" if lines else ""
        restarts = f"{container.restart_count} restart{'' if container.restart_count == 1 else 's'}"
        return word, f"the container {how}, {restarts}{tail}"
    running = container.state.running
    if (
        not container.ready
        and running is not None
        and running.started_at is not None
        and now - running.started_at >= _UNREADY_FOR
    ):
        return "ProbeFailing", "the function is running but its readiness probe on port 8080 gets no good answer"
    return "", ""


def _is_ready(pod: Pod) -> bool:
    ready = _condition(pod.status.conditions, "Ready")
    return ready is not None and ready.status == "True"


def _generation(pod: Pod) -> int:
    text = pod.annotations.get(names.ANNOTATION_GENERATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _condition(conditions: Sequence[Condition] | None, kind: str) -> Condition | None:
    return next((condition for condition in conditions or () if condition.type == kind), None)
