"""How each transcript is replayed: which controllers run, what it leaves out, what is given from outside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Final

from support.kubernetes.controllers import NAMES
from support.kubernetes.controllers.pace import Pace
from support.kubernetes.options import WriteOptions
from support.kubernetes.replay.compare import Rules
from support.kubernetes.replay.runner import Hook, Project, Replay, transcript
from support.kubernetes.server import ApiServer
from support.kubernetes.status import Json

_API: Final = frozenset({"definitions", "furnish", "remove", "garbage", "quota"})


_UNROLLED: Final = Rules(
    without_managed_fields=False,
    ignored=(
        r"^metadata\.annotations$",
        r"^status\.(observedGeneration|conditions|terminatingReplicas|replicas|updatedReplicas|unavailableReplicas)$",
    ),
)
_CRD: Final = {
    20: (r"^message$", r"^details\.causes$"),  # two more causes of the rules' type checker
    71: (r"^metadata\.(generation|deletion)", r"^status"),  # seen before the collector came by
    72: (r"^metadata\.(generation|deletion)", r"^status"),
}
_ROLLED: Final = (r"metadata\.annotations$", r"status\.conditions$")
"""What the deployment controller, which does not run, would have added."""


async def _forget(run: Replay, number: int, step: Json) -> None:
    """What happened between the recorded steps: many patches, a lost window of events, a compaction."""
    server = run.server
    if number == 8:
        configmaps = server.resource("configmaps")
        for count in range(260):
            change = json.dumps({"data": {"k": f"n{count}"}}).encode()
            kind, options = "application/merge-patch+json", WriteOptions(manager="recorder")
            server.engine.patch(configmaps, "rec-old", "cm-4", change, kind, options)
        server.chaos.oldest = server.store.version - 1
    if number == 15:
        server.store.compact()


_PACE: Final = Pace(watch_scale=0.03, patience=0.1, namespace_delete=0.25, namespace_check=0.25, establish=0.15)


@dataclass
class Case:
    """One transcript."""

    rules: Rules = field(default_factory=Rules)
    controllers: frozenset[str] = _API
    hook: Hook | None = None
    states: Project | None = None
    pace: Pace = field(default_factory=lambda: replace(_PACE))


CASES: Final[dict[str, Case]] = {
    "namespaces": Case(),
    "namespace-fresh": Case(),
    "field-validation": Case(),
    "optimistic-concurrency": Case(Rules(ignored_at=dict.fromkeys((49, 50), _ROLLED))),
    "watch": Case(),
    "watch-too-old": Case(hook=_forget),
    "list": Case(Rules(ignored_at={29: (r"metadata\.continue$",)})),
    "discovery": Case(),
    "leases": Case(),
    "secrets": Case(),
    "rbac": Case(Rules(ignored_at={55: (r"^rules$", r"^aggregationRule$")})),
    "server-side-apply": Case(_UNROLLED, states=lambda obj: obj),
    "network-policy-runtime-class": Case(controllers=NAMES),
    "admission-quota": Case(controllers=NAMES),
    "admission-limitrange": Case(controllers=NAMES),
    "admission-pod-security": Case(controllers=NAMES),
    "crd": Case(Rules(ignored_at=_CRD), states=lambda obj: obj, controllers=_API | {"deployments"}),
    "logs": Case(),
}


async def replay(name: str) -> Replay:
    """Replay one transcript; what differs is in `findings`."""
    case = CASES[name]
    scenario = transcript(name)
    case.rules.cut_pods = any("spec cut" in text for text in scenario.get("trimmed") or ())
    async with ApiServer(controllers=case.controllers, pace=case.pace) as server:
        server.chaos.bookmark_seconds = 0.4
        run = Replay(server, scenario, case.rules, hook=case.hook, states=case.states)
        await run.run()
        return run
