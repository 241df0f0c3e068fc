"""How each transcript is replayed: which controllers run, what it leaves out, what is given from outside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Final

from kubernetes_double.controllers import NAMES
from kubernetes_double.controllers.pace import Pace
from kubernetes_double.controllers.scripts import Outcome
from kubernetes_double.replay.compare import Rules
from kubernetes_double.replay.containers import crash_oom, log_lines, pending
from kubernetes_double.replay.milestones import milestones
from kubernetes_double.replay.runner import Hook, Project, Replay, transcript
from kubernetes_double.server import ApiServer
from kubernetes_double.serving.options import WriteOptions
from kubernetes_double.serving.status import Json

_PACE: Final = Pace(watch_scale=0.03, patience=0.1, namespace_delete=0.25, namespace_check=0.25, establish=0.15)


async def _stopped(run: Replay, number: int, step: Json) -> None:
    """httpd answers SIGTERM with exit code 2; a Pod takes a moment to start and to stop."""
    if number == 0:
        run.server.images["registry.local/httpd:2"] = Outcome(stop_code=2)
        run.server.pace.stop = 0.15


async def _slowly_stopped(run: Replay, number: int, step: Json) -> None:
    """Long enough for what is being deleted in the foreground to be seen."""
    await _stopped(run, number, step)
    if number == 0:
        run.server.pace.stop = 0.25


_API: Final = frozenset({"definitions", "furnish", "remove", "garbage", "quota"})


_CONTROLLER: Final = "the deployment controller's, which does not run: the lesson is who owns which field"
_UNROLLED: Final = Rules(
    without_managed_fields=False,
    ignored={
        r"^metadata\.annotations$": _CONTROLLER,
        r"^status\.(observedGeneration|conditions|terminatingReplicas|replicas|updatedReplicas|unavailableReplicas)$": _CONTROLLER,
    },
)
_SHORTENED: Final = "shortened in the transcript"
_DISCOVERY: Final = Rules(
    ignored_at={
        2: {r"^groups\[\d+\]\.versions": _SHORTENED},
        21: {r"^paths$": f"{_SHORTENED}; the double has the documents of nine groups"},
        25: {r"^paths$": "the double has no /metrics, /flagz and the like"},
        29: {r"^items$": "the namespaces of other scenarios"},
    },
    subset_at={9: {r"^resources$": _SHORTENED}, 10: {r"^items$": _SHORTENED}},
    skipped={17: "the names of the checks of that build"},
)


def _life(obj: Json) -> Json:
    """The part of an object's state that does not depend on the pace of controllers."""
    metadata = obj["metadata"]
    kept = {key: metadata[key] for key in ("name", "ownerReferences") if key in metadata}
    return {"metadata": kept}


_STOPPED: Final = {r"^status\.resources\.limits$": "an overflow of that kubelet's, for containers that have stopped"}
_DEPLOYED: Final = Rules(
    ignored={r"^items\[0\]\.metadata\.generation$": "how often a slice was written by then: changes at once are one"}
)
_PODS: Final = Rules(ignored={**_STOPPED, r"count$": "how often an event came by then"})
_CRASHED: Final = replace(
    _PODS,
    ignored_at={11: {r"^status\.containerStatuses\[0\]\.(state|restartCount)$": "where in its circle it is"}},
)
_PENDING: Final = replace(
    _PODS,
    ignored_at={
        18: {r"^items\[4\]\.message$": "what the network said to a probe of a port that nobody listens at"},
        24: {r"observedGeneration$": "whether the kubelet has seen the deletion yet"},
    },
    skipped={16: "events of an earlier Pod of that name"},
)
_LOGS: Final = Rules(
    ignored=_STOPPED,
    skipped={
        5: "lines with the times of that run",
        8: "sinceTime is a time of that run",
    },
)
_SLOW: Final = replace(_PACE, back_off=0.05, start=0.02, notice=0.25, stop=0.3)
_CEL: Final = "the type checker of CEL, which the double has not, names three more causes"
_COLLECTED: Final = {
    r"^metadata\.(generation|deletion)": "seen before the collector came by",
    r"^status\.observedGeneration$": "seen before the collector came by",
}
_CRD: Final = {
    20: {r"^message$": _CEL, r"^details\.causes$": _CEL},
    71: _COLLECTED,
    72: _COLLECTED,
}
_ROLLED: Final = {r"metadata\.annotations$": _CONTROLLER, r"status\.conditions$": _CONTROLLER}


async def _slow_start(run: Replay, number: int, step: Json) -> None:
    """The Pods of the second half take their time."""
    if number == 15:
        run.server.pace.start = 0.6


async def _secret_log(run: Replay, number: int, step: Json) -> None:
    """The container of the transcript prints a Secret as file and as environment."""
    lines = {36: "file=third env=third", 39: "file=fourth env=third"}
    if number in lines:
        await run.server.controllers.settled()
        pod = run.server.object("pods", "uses", "rec-sec")
        if pod is not None:
            run.server.kubelet.log(pod["metadata"]["uid"], "main").write(lines[number])


async def _no_handler(run: Replay, number: int, step: Json) -> None:
    """The node of the transcript knows no runtime of that name."""
    if number == 0:
        text = "rpc error: code = Unknown desc = unable to get OCI runtime for sandbox"
        text += f' "{"0" * 63}1": no runtime for "nohandler" is configured'

        def rule(pod: Json) -> Outcome | None:
            return Outcome(sandbox=text) if pod["spec"].get("runtimeClassName") == "rec-nohandler" else None

        run.server.images.rules.append(rule)


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


@dataclass
class Case:
    """One transcript."""

    rules: Rules = field(default_factory=Rules)
    controllers: frozenset[str] = _API
    hook: Hook | None = None
    states: Project | None = None
    prefix: bool = False
    bookmarks: float = 60.0
    pace: Pace = field(default_factory=lambda: replace(_PACE))


CASES: Final[dict[str, Case]] = {
    "namespaces": Case(),
    "namespace-fresh": Case(),
    "field-validation": Case(),
    "optimistic-concurrency": Case(Rules(ignored_at={49: _ROLLED, 50: _ROLLED})),
    "watch": Case(bookmarks=0.4),
    "watch-too-old": Case(hook=_forget),
    "list": Case(),
    "discovery": Case(_DISCOVERY),
    "leases": Case(),
    "secrets": Case(Rules(ignored=_STOPPED), controllers=NAMES, hook=_secret_log, states=milestones),
    "rbac": Case(
        Rules(
            ignored_at={
                55: {
                    r"^rules$": "all that `view` may see in that build",
                    r"^aggregationRule$": "no roles are aggregated here",
                }
            }
        )
    ),
    "server-side-apply": Case(_UNROLLED, states=lambda obj: obj),
    "network-policy-runtime-class": Case(controllers=NAMES, hook=_no_handler),
    "admission-quota": Case(controllers=NAMES, hook=_slow_start, states=milestones),
    "admission-limitrange": Case(controllers=NAMES),
    "admission-pod-security": Case(
        Rules(ignored_at={10: {r"^status\.unavailableReplicas$": "counted before or after the new Pod was refused"}}),
        controllers=NAMES,
    ),
    "crd": Case(Rules(ignored_at=_CRD), states=_life, controllers=_API | {"deployments"}),
    "logs": Case(_LOGS, controllers=NAMES, hook=log_lines),
    "deployment-scale": Case(_DEPLOYED, controllers=NAMES, states=milestones, hook=_stopped),
    "deployment-rolling-update": Case(_DEPLOYED, controllers=NAMES, states=milestones, hook=_stopped),
    "deployment-failed-rollout": Case(
        _DEPLOYED,
        controllers=NAMES,
        states=milestones,
        hook=_stopped,
        pace=replace(_PACE, deadline_scale=0.3, back_off=5.0),
    ),
    "deployment-delete": Case(_DEPLOYED, controllers=NAMES, states=milestones, hook=_slowly_stopped),
    "pod-image-errors": Case(
        _PODS, controllers=NAMES, states=milestones, prefix=True, pace=replace(_PACE, back_off=0.2)
    ),
    "pod-crash-oom": Case(_CRASHED, controllers=NAMES, states=milestones, prefix=True, hook=crash_oom, pace=_SLOW),
    "pod-pending-unready": Case(_PENDING, controllers=NAMES, states=milestones, prefix=True, hook=pending, pace=_SLOW),
}


async def replay(name: str) -> Replay:
    """Replay one transcript; what differs is in `findings`."""
    case = CASES[name]
    scenario = transcript(name)
    case.rules.cut_pods = any("spec cut" in text for text in scenario.get("trimmed") or ())
    async with ApiServer(controllers=case.controllers, pace=case.pace) as server:
        server.chaos.bookmark_seconds = case.bookmarks
        run = Replay(server, scenario, case.rules, hook=case.hook, states=case.states, prefix=case.prefix)
        await run.run()
        return run
