"""The `status` of a Function object, as conditions that `kubectl` and GitOps tools understand. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hilbert.core.model import Phase
from hilbert.providers.kubernetes.cluster.objects import FunctionObject
from hilbert.providers.kubernetes.view.status import Condensed


def function_status(
    function: FunctionObject,
    *,
    known: Mapping[str, Any],
    replicas: int,
    available: int,
    seen: Condensed,
    problem: tuple[str, str],
    profiles_used: Sequence[tuple[str, str, int]],
    now: datetime,
) -> dict[str, Any]:
    """The whole status of a Function. Times move only when a condition turns. Pure.

    `problem` is why it cannot be deployed: a word, and a sentence that is empty when nothing is wrong. `profiles_used`
    are namespace, name and generation of each.
    """
    settled = seen.phase in (Phase.READY, Phase.IDLE)
    word, sentence = problem
    trouble = sentence or seen.message
    why = word if sentence else seen.reason or "Failed"
    conditions = (
        ("Reconciling", not settled and not trouble, "Progressing", seen.phase.value),
        ("Stalled", bool(trouble), why, trouble),
        ("Ready", settled and not sentence, "Deployed", ""),
        ("Healthy", available > 0, "Available", f"{available} of {replicas} replicas are ready"),
    )
    before = {condition.get("type"): condition for condition in known.get("conditions") or ()}
    status: dict[str, Any] = {
        "conditions": [
            _condition(before.get(kind), kind, holds, reason, message, function.metadata.generation, now)
            for kind, holds, reason, message in conditions
        ],
        "observedGeneration": function.metadata.generation,
        "replicas": replicas,
        "availableReplicas": available,
        "unavailableReplicas": max(0, replicas - available),
    }
    if profiles_used:
        status["profiles"] = [
            {"profileRef": {"namespace": ns, "name": name}, "observedGeneration": generation}
            for ns, name, generation in profiles_used
        ]
    return status


def _condition(
    before: Mapping[str, Any] | None,
    kind: str,
    holds: bool,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> dict[str, Any]:
    status = "True" if holds else "False"
    turned = before is None or before.get("status") != status
    return {
        "type": kind,
        "status": status,
        "reason": reason if holds else f"Not{reason}" if kind in ("Ready", "Healthy") else "None",
        "message": message[:1024],
        "observedGeneration": generation,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if turned or before is None
        else before.get("lastTransitionTime") or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
