"""`/system/alert`: AlertManager asks for more replicas of busy functions."""

from __future__ import annotations

from typing import Final

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from hilbert.api.request import AnyRequest, nothing, read
from hilbert.api.services import Services
from hilbert.control.scaling.alerts import decide_replicas
from hilbert.core.errors import HilbertError, Invalid
from hilbert.wire.alert import Alert, AlertReport

PATH = "/system/alert"

MAX_ALERTS: Final = 1000
"""In one report; AlertManager groups far fewer."""


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handler of this resource."""
    tenancy, provider = services.tenancy, services.provider

    async def follow(alert: Alert) -> None:
        name = alert.labels.function_name if alert.labels else None
        if not name:
            raise Invalid("the alert has no label function_name")
        _, ref = await tenancy.resolve_function(name)
        status = await provider.get(ref)
        replicas = decide_replicas(status.replicas, status.spec.labels, firing=alert.status == "firing")
        if replicas != status.replicas:
            await provider.scale(ref, replicas)

    @post(PATH, status_code=200)
    async def take_alerts(request: AnyRequest) -> Response[bytes]:
        report = await read(
            request,
            AlertReport,
            empty="A body is required for this endpoint",
            broken="Unable to parse alert, bad format.",
        )
        alerts = report.alerts or ()
        if len(alerts) > MAX_ALERTS:
            raise Invalid(f"{len(alerts)} alerts; the most is {MAX_ALERTS} in one report")
        failures: list[str] = []
        for alert in alerts:
            try:
                await follow(alert)
            except HilbertError as exc:
                failures.append(f"[{len(failures)}] {exc.message}\n")
        if failures:
            return Response("".join(failures).encode(), status_code=500, media_type="text/plain")
        return nothing(200)

    return [take_alerts]
