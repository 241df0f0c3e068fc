"""What is wrong, in words: each case is what a real kubelet or controller says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from hilbert.core.model import Phase
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.objects import Deployment, FunctionObject, Pod
from hilbert.providers.kubernetes.view.status import condense, start_fault

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def deployment(replicas: int = 1, *conditions: dict[str, str]) -> Deployment:
    body = {"metadata": {"name": "f"}, "spec": {"replicas": replicas}, "status": {"conditions": conditions}}
    return kinds.DEPLOYMENTS.decode(msgspec.json.encode(body))


def pod(generation: int = 1, *, ready: bool = False, deleted: bool = False, **status: Any) -> Pod:
    conditions = [*status.pop("conditions", ()), {"type": "Ready", "status": "True" if ready else "False"}]
    metadata: dict[str, Any] = {"name": f"f-{generation}", "annotations": {"com.hilbert.generation": str(generation)}}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    return kinds.PODS.decode(
        msgspec.json.encode({"metadata": metadata, "status": {**status, "conditions": conditions}})
    )


def container(state: dict[str, Any], last: dict[str, Any] | None = None, restarts: int = 0) -> list[dict[str, Any]]:
    return [{"name": "f", "ready": False, "restartCount": restarts, "state": state, "lastState": last or {}}]


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


CASES = [
    (
        pod(containerStatuses=container(waiting("ImagePullBackOff", 'Back-off pulling image "x": not found'))),
        "ImageUnavailable",
        "not found",
    ),
    (
        pod(containerStatuses=container(waiting("InvalidImageName", "must be lowercase"))),
        "ImageUnavailable",
        "lowercase",
    ),
    (
        pod(
            containerStatuses=container(
                waiting("CrashLoopBackOff", "back-off 10s"),
                {"terminated": {"exitCode": 3, "reason": "Error", "message": "starting\nno database\n\n"}},
                restarts=4,
            )
        ),
        "CrashLoop",
        "status 3, 4 restarts; last output: starting | no database",
    ),
    (
        pod(
            containerStatuses=container(
                waiting("CrashLoopBackOff"), {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, restarts=1
            )
        ),
        "OutOfMemory",
        "more memory than its limit",
    ),
    (
        pod(containerStatuses=container(waiting("CreateContainerConfigError", 'secret "db" not found'))),
        "SecretNotFound",
        'secret "db" not found',
    ),
    (
        pod(
            containerStatuses=container(
                waiting("CrashLoopBackOff"), {"terminated": {"exitCode": 128, "reason": "StartError"}}, restarts=1
            )
        ),
        "StartFailed",
        "could not be started",
    ),
    (
        pod(
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient cpu.",
                }
            ]
        ),
        "Unschedulable",
        "Insufficient cpu",
    ),
    (
        pod(containerStatuses=container({"running": {"startedAt": "2026-01-01T12:00:00Z"}})),
        "ProbeFailing",
        "readiness probe",
    ),
    (pod(phase="Failed", reason="Evicted", message="The node was low on memory."), "Evicted", "low on memory"),
]


@pytest.mark.parametrize(("seen", "reason", "said"), CASES, ids=[f"{case[1]}-{n}" for n, case in enumerate(CASES)])
def test_reasons_from_pods(seen: Pod, reason: str, said: str) -> None:
    found = condense(deployment(), [seen], generation=1, available=0, now=NOW)
    assert (found.phase, found.reason) == (Phase.FAILED, reason)
    assert said in found.message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'pods "web-1" is forbidden: exceeded quota: tenant, requested: pods=1, used: pods=2, limited: pods=2',
            "QuotaExceeded",
        ),
        ('pods "web-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', "PodSecurity"),
        ('pods "web-1" is forbidden: maximum cpu usage per Container is 1, but limit is 2', "LimitExceeded"),
        ("something else", "PodRefused"),
    ],
)
def test_reasons_from_the_deployment(message: str, reason: str) -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    found = condense(deployment(1, failure), [], generation=1, available=0, now=NOW)
    assert (found.phase, found.reason) == (Phase.FAILED, reason)
    assert message in found.message


def test_phases() -> None:
    fresh = pod(containerStatuses=container({"running": {"startedAt": "2026-01-01T12:00:29Z"}}))

    def phase(pods: list[Pod], *, generation: int, available: int, replicas: int = 1) -> tuple[Phase, int]:
        found = condense(deployment(replicas), pods, generation=generation, available=available, now=NOW)
        return found.phase, found.ready_generation

    assert phase([], generation=1, available=0) == (Phase.STARTING, 0)
    assert phase([fresh], generation=1, available=0) == (Phase.STARTING, 0)
    assert phase([pod(1, ready=True)], generation=1, available=1) == (Phase.READY, 1)
    assert phase([pod(1, ready=True), pod(2)], generation=2, available=1) == (Phase.UPDATING, 1)
    assert phase([], generation=1, available=0, replicas=0) == (Phase.IDLE, 0)
    assert phase([pod(1, ready=True, deleted=True)], generation=1, available=0) == (Phase.STARTING, 0)


def test_old_version_serves_while_the_new_one_fails_and_the_status_says_so() -> None:
    failing = pod(2, containerStatuses=container(waiting("ErrImagePull", "no such image")))
    found = condense(deployment(), [pod(1, ready=True), failing], generation=2, available=1, now=NOW)
    assert (found.phase, found.ready_generation, found.reason) == (Phase.FAILED, 1, "ImageUnavailable")


def test_trouble_of_an_old_version_is_not_the_new_ones() -> None:
    old = pod(1, containerStatuses=container(waiting("ErrImagePull")))
    found = condense(deployment(), [old], generation=2, available=0, now=NOW)
    assert (found.phase, found.reason) == (Phase.STARTING, "")


def function(generation: int = 1, *conditions: dict[str, Any]) -> FunctionObject:
    body = {"metadata": {"name": "f", "generation": generation}, "spec": {}, "status": {"conditions": conditions}}
    return kinds.FUNCTIONS.decode(msgspec.json.encode(body))


def ended(seconds: int, **more: Any) -> dict[str, Any]:
    times = {"startedAt": "2026-01-01T12:00:00Z", "finishedAt": f"2026-01-01T12:00:{seconds:02}Z"}
    return {"terminated": {"exitCode": 1, "reason": "Error", "message": "KeyError: 'PASSWORD'", **times, **more}}


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (pod(containerStatuses=container(ended(1))), "the container exited with status 1 (KeyError)"),
        (pod(containerStatuses=container(ended(50))), None),
        (pod(containerStatuses=container(waiting("CrashLoopBackOff"), ended(50), restarts=3)), "exited with status 1"),
        (pod(containerStatuses=container({"running": {}}, ended(50), restarts=1)), None),
        (pod(containerStatuses=container(ended(50, reason="StartError"))), "could not be started"),
        (pod(containerStatuses=container(waiting("ErrImagePull", "no reg.example/x"))), "the image cannot be pulled"),
        (
            pod(containerStatuses=container(waiting("CreateContainerConfigError", 'secret "db" not found'))),
            "does not exist",
        ),
        (pod(containerStatuses=container({"running": {"startedAt": "2026-01-01T12:00:00Z"}})), None),
        (pod(containerStatuses=container(waiting("ContainerCreating"))), None),
        (pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}]), None),
        (pod(generation=0, containerStatuses=container(ended(1))), None),
    ],
)
def test_calls_are_refused_only_where_waiting_is_in_vain(seen: Pod, told: str | None) -> None:
    """One that ran well may run again in a moment, and a cluster may get another node."""
    fault = start_fault(function(), deployment(), [seen])
    assert (fault is not None) == (told is not None)
    if fault is not None and told is not None:
        assert told in fault.message
        for private in ("PASSWORD", "example", "db"):
            assert private not in fault.message


def test_what_the_leader_cannot_deploy_is_refused_and_what_sleeps_is_not() -> None:
    told = {"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": "no", "observedGeneration": 1}
    fault = start_fault(function(1, told), None, [])
    assert fault is not None
    assert fault.reason == "InvalidSpec"
    assert start_fault(function(2, told), None, []) is None
    failing = pod(containerStatuses=container(ended(1)))
    assert start_fault(function(), deployment(0), [failing]) is None


def test_the_cause_is_shown_where_the_last_lines_are_of_something_else() -> None:
    log = "TypeError: no key\n    at a (b.js:1:7)\n    at c (d.js:1:7)\n    at e (f.js:1:7)\n\nNode.js v22.1.0"
    seen = pod(containerStatuses=container(ended(1, message=log)))
    found = condense(deployment(), [seen], generation=1, available=0, now=NOW)
    assert found.message.endswith("; last output: TypeError: no key")
