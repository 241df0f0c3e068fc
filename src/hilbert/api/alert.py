"""`/system/alert`: AlertManager asks for more replicas of busy functions."""

from __future__ import annotations

from time import monotonic
from typing import Final

from hilbert.api.asgi import Answer
from hilbert.api.endpoint import Body, Call, Endpoint, nothing
from hilbert.api.services import Services
from hilbert.control.scaling.alerts import decide_replicas
from hilbert.core import errors
from hilbert.core.errors import HilbertError, Invalid, NotFound
from hilbert.core.identity import Action
from hilbert.wire.alert import Alert, AlertReport

MAX_ALERTS: Final = 1000
"""In one report; AlertManager groups far fewer."""

REPORT: Final = Body(AlertReport, "A body is required for this endpoint", "Unable to parse alert, bad format.")


async def take_alerts(call: Call) -> Answer:
    alerts = call.given(REPORT).alerts or ()
    if len(alerts) > MAX_ALERTS:
        raise Invalid(f"{len(alerts)} alerts; the most is {MAX_ALERTS} in one report")
    failures: list[str] = []
    curable = False  # Whether a repetition may help: 500 asks AlertManager for it, and it scales the others again.
    for alert in alerts:
        try:
            await _follow(call.services, alert)
        except HilbertError as exc:
            curable = curable or not isinstance(exc, NotFound | Invalid)
            failures.append(f"[{len(failures)}] {exc.message}\n")
    if failures:
        return Answer(500 if curable else 200, "".join(failures).encode())
    return nothing(200)


async def _follow(services: Services, alert: Alert) -> None:
    name = alert.labels.function_name if alert.labels else None
    if not name:
        raise Invalid("the alert has no label function_name")
    _, ref = await services.tenancy.resolve_function(name)
    status = await services.provider.get(ref)
    firing = alert.status == "firing"
    which = (alert.labels and alert.labels.alertname) or ""
    if firing and services.alert_steps.is_repeated(ref, which, monotonic()):
        return
    if not firing:
        services.alert_steps.ended(ref, which)
    replicas = decide_replicas(status.replicas, status.spec.labels, firing=firing)
    if services.scaler is not None and services.scaler.alert(ref, replicas if firing else 0) and not firing:
        return  # Its load says how many it needs from now on.
    if replicas != status.replicas:
        await services.provider.scale(ref, replicas)
    if firing:
        services.alert_steps.followed(ref, which, monotonic())


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/system/alert",
        handler=take_alerts,
        access=Action.SYSTEM_ALERT,
        group="Functions",
        summary="Scale functions by AlertManager's alerts; the body names those that failed, one a line; 500 if it is worth a repetition",
        body=REPORT,
        errors=(errors.BackendError,),
    ),
)
