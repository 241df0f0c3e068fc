"""What a function is doing, in words, from what the cluster says about its Deployment and Pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from hilbert.core.last_words import exception_in, telling_line
from hilbert.core.model import Phase, StartFault
from hilbert.core.values import whole_or
from hilbert.providers.kubernetes.cluster import names
from hilbert.providers.kubernetes.cluster.objects import (
    Condition,
    ContainerStatus,
    Deployment,
    FunctionObject,
    Pod,
    Terminated,
)

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
_LACKING: Final = "a secret that it needs does not exist"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_LONGEST: Final = 1000
_LAST_LINES: Final = 3


class Condensed(msgspec.Struct, frozen=True):
    """The part of a function's status that takes judgement."""

    phase: Phase
    ready_generation: int
    reason: str = ""
    message: str = ""


def condense(
    deployment: Deployment | None,
    pods: Sequence[Pod],
    *,
    generation: int,
    rollout: str = "",
    available: int,
    now: datetime,
    lacks: str = "",
) -> Condensed:
    """`generation` and `rollout` are the Function's, `available` counts ready endpoints, `now` has a time zone.

    `lacks` names a secret of the function that is not there.
    """
    alive = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    of = {pod.metadata.name: _generation_of(pod, generation, rollout) for pod in alive}
    ready_generation = max((of[pod.metadata.name] for pod in alive if _is_ready(pod)), default=0)
    wanted = deployment.replicas if deployment is not None else 1
    if wanted == 0:
        return Condensed(Phase.IDLE, ready_generation)
    if ready_generation >= generation and available:
        # Those that serve do; the cluster may have no room for the others.
        short = _refusal_of(deployment) if available < wanted else _Trouble()
        return Condensed(Phase.READY, ready_generation, short.reason, short.message)
    trouble = _trouble(deployment, [pod for pod in alive if of[pod.metadata.name] >= generation], now, lacks)
    phase = Phase.FAILED if trouble.reason else Phase.UPDATING if available else Phase.STARTING
    return Condensed(phase, ready_generation, trouble.reason, trouble.message)


def start_fault(
    function: FunctionObject, deployment: Deployment | None, pods: Sequence[Pod], lacks: str = ""
) -> StartFault | None:
    """Why calls of a function without endpoints are to be refused. None: one of its Pods may take them soon."""
    if deployment is not None and deployment.replicas == 0:
        return None
    generation, rollout = function.metadata.generation, function.annotations.get(names.ANNOTATION_ROLLOUT, "")
    new = [
        pod
        for pod in pods
        if pod.metadata.deletion_timestamp is None and _generation_of(pod, generation, rollout) >= generation
    ]
    trouble = _trouble(deployment, new, _LONG_AGO, lacks)
    if trouble.lasts:
        return StartFault(trouble.reason, trouble.told)
    if not new and not trouble.reason and (told := stalled(function)) is not None:
        return StartFault(told[0], "the cluster rejected it")
    return None


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


class _Trouble(NamedTuple):
    reason: str = ""
    message: str = ""
    told: str = ""
    """The part of the message that whoever calls the function may read."""
    lasts: bool = False
    """Waiting for a moment does not help."""


def _trouble(deployment: Deployment | None, pods: Iterable[Pod], now: datetime, lacks: str) -> _Trouble:
    for pod in sorted(pods, key=lambda pod: pod.metadata.name):
        found = _pod_trouble(pod, now, lacks)
        if found.reason:
            return found._replace(message=found.message[:_LONGEST])
    if (refusal := _refusal_of(deployment)).reason:
        return refusal
    for condition in (deployment.status.conditions or ()) if deployment is not None else ():
        if condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded":
            late = "the new version did not become ready in time"
            return _Trouble("TooSlow", f"{late}; the previous version, if any, keeps serving", late, lasts=True)
    return _Trouble()


def _refusal_of(deployment: Deployment | None) -> _Trouble:
    failure = _condition(deployment.status.conditions, "ReplicaFailure") if deployment is not None else None
    return _refused(failure.message or "") if failure is not None and failure.status == "True" else _Trouble()


def _refused(text: str) -> _Trouble:
    """Why the cluster takes no Pod."""
    if "exceeded quota" in text:
        word, told = "QuotaExceeded", "the namespace's quota is used up"
    elif "failed quota" in text:
        word, told = "LimitsRequired", "the namespace's quota wants limits that the function does not state"
    elif "violates PodSecurity" in text:
        word, told = "PodSecurity", "the namespace's Pod Security level does not allow the Pod"
    elif "LimitRange" in text or "maximum" in text or "minimum" in text or "limit to request ratio" in text:
        word, told = "LimitExceeded", "the namespace's limits do not allow the Pod"
    else:
        word, told = "PodRefused", "the cluster rejected the Pod"
    return _Trouble(word, f"{told}: {text[:_LONGEST]}", told, lasts=True)


def _pod_trouble(pod: Pod, now: datetime, lacks: str) -> _Trouble:
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        told = "no node can run the Pod"  # Until one is added, which some clusters do by themselves.
        return _Trouble("Unschedulable", f"{told}: {scheduled.message or scheduled.reason or 'no reason given'}", told)
    if pod.status.phase == "Failed" and pod.status.reason:
        told = f"the Pod failed: {pod.status.reason}"
        return _Trouble(pod.status.reason, pod.status.message or told, told)
    if lacks and is_creating(pod):
        return _Trouble("SecretNotFound", f"unable to find secret: {lacks}", _LACKING, lasts=True)
    for container in pod.status.container_statuses or ():
        found = _container_trouble(container, now)
        if found.reason:
            return found
    return _Trouble()


def _container_trouble(container: ContainerStatus, now: datetime) -> _Trouble:
    waiting = container.state.waiting
    reason = (waiting.reason or "") if waiting is not None else ""
    said = (waiting.message or reason) if waiting is not None else ""
    if reason in _IMAGE:
        told = "the image cannot be pulled"
        return _Trouble("ImageUnavailable", f"{told}: {said}", told, lasts=True)
    if reason in _START:
        told = "the container cannot be started"
        if said.startswith("secret ") and said.endswith(" not found"):
            return _Trouble("SecretNotFound", f"{told}: {said}", _LACKING, lasts=True)
        return _Trouble("StartFailed", f"{told}: {said}", told, lasts=True)
    ended = container.state.terminated or (container.last_state.terminated if not container.ready else None)
    if ended is not None and (reason == "CrashLoopBackOff" or container.state.terminated or container.restart_count):
        return _ended(container, ended, backs_off=reason == "CrashLoopBackOff")
    running = container.state.running
    if (
        not container.ready
        and running is not None
        and running.started_at is not None
        and now - running.started_at >= _UNREADY_FOR
    ):
        told = "the function is running, but its readiness probe on port 8080 fails"
        return _Trouble("ProbeFailing", told, told)
    return _Trouble()


def _ended(container: ContainerStatus, ended: Terminated, *, backs_off: bool) -> _Trouble:
    how = f"exited with status {ended.exit_code}"
    if ended.reason == "OOMKilled":
        word, how = "OutOfMemory", "was killed for using more memory than its limit"
    elif ended.reason in ("StartError", "ContainerCannotRun"):
        word, how = "StartFailed", "could not be started"
    else:
        word = "CrashLoop"
    lines = [line for line in (ended.message or "").splitlines() if line.strip()]
    telling = telling_line(lines)
    shown = lines[-_LAST_LINES:] if any(telling in line for line in lines[-_LAST_LINES:]) else [telling]
    tail = f"; last output: {' | '.join(shown)}" if lines else ""
    name = exception_in(telling)
    restarts = f"{container.restart_count} restart{'' if container.restart_count == 1 else 's'}"
    lived = ended.finished_at - ended.started_at if ended.finished_at and ended.started_at else _UNREADY_FOR
    return _Trouble(
        word,
        f"the container {how}, {restarts}{tail}",
        f"the container {how} ({name})" if name else f"the container {how}",
        lasts=backs_off or word == "StartFailed" or lived < _UNREADY_FOR,
    )


def is_creating(pod: Pod) -> bool:
    """Whether a node has the Pod and none of its containers has ever run."""
    statuses = pod.status.container_statuses or ()
    return (
        pod.metadata.deletion_timestamp is None
        and pod.status.phase == "Pending"
        and bool(statuses)
        and all(one.state.waiting is not None and one.state.waiting.reason == "ContainerCreating" for one in statuses)
    )


def _is_ready(pod: Pod) -> bool:
    ready = _condition(pod.status.conditions, "Ready")
    return ready is not None and ready.status == "True"


def _generation_of(pod: Pod, generation: int, rollout: str) -> int:
    """Of a Pod; the one before where the same generation has been rolled out again since."""
    found = whole_or(pod.annotations.get(names.ANNOTATION_GENERATION), 0)
    again = found == generation and pod.annotations.get(names.ANNOTATION_ROLLOUT, "") != rollout
    return found - 1 if again else found


def _condition(conditions: Sequence[Condition] | None, kind: str) -> Condition | None:
    return next((condition for condition in conditions or () if condition.type == kind), None)
