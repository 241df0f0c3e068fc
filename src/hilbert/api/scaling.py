"""`/system/scaling/NAME`: how a function scales, and why its count is what it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Call, Endpoint
from hilbert.api.problems import RESERVED_READ
from hilbert.control.scaling.policy import LoadPolicy
from hilbert.control.scaling.scaler import ScalingEvent
from hilbert.core import errors
from hilbert.core.identity import Action
from hilbert.core.values import Duration
from hilbert.wire.scaling import Scaling, ScalingChange, ScalingRule


async def get_scaling(call: Call) -> Answer:
    status = await call.services.provider.get(call.ref)
    scaler = call.services.scaler
    state = scaler.explain(call.ref) if scaler is not None else None
    decision = state.decision if state is not None else None
    if state is None:
        message = "no label asks for scaling: its number of replicas changes only when somebody sets it"
    elif decision is None:
        message = "nothing has happened yet that would change its number of replicas"
    else:
        message = decision.message
    return json(
        Scaling(
            name=str(call.ref.name),
            namespace=str(call.ref.namespace),
            replicas=status.replicas,
            available=status.available,
            rule=_rule(state.policy) if state is not None else None,
            load=decision.load if decision is not None else None,
            wanted=decision.wanted if decision is not None else None,
            reason=decision.reason.value if decision is not None else "",
            message=message,
            refused=state.refused if state is not None else "",
            changes=tuple(_change(event) for event in state.events) if state is not None else (),
        )
    )


def _rule(policy: LoadPolicy) -> ScalingRule:
    return ScalingRule(
        type=policy.kind,
        target=policy.target,
        proportion=policy.proportion,
        min=policy.min,
        max=policy.max,
        zero=policy.zero,
        zero_after=str(Duration.of(policy.zero_after)),
        down_window=str(Duration.of(policy.window)),
    )


def _change(event: ScalingEvent) -> ScalingChange:
    return ScalingChange(
        at=datetime.fromtimestamp(event.at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        before=event.before,
        after=event.after,
        reason=event.reason,
        message=event.message,
        load=event.load,
        wanted=event.wanted,
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/scaling/{name}",
        handler=get_scaling,
        access=Action.FUNCTION_GET,
        target=targets.function(targets.in_path),
        group="Functions",
        summary="Say how a function scales: its rule, its load, what was decided and the last changes",
        query=(NAMESPACE,),
        answer=Scaling,
        errors=(errors.BackendUnavailable, errors.FunctionNotFound),
        retold=RESERVED_READ,
    ),
)
