"""`/healthz`: does the control plane answer? `/readyz`: does it know where calls go?"""

from __future__ import annotations

from typing import Final

from hilbert.api.asgi import TEXT, Answer
from hilbert.api.endpoint import Access, Call, Endpoint
from hilbert.core import errors
from hilbert.core.errors import BackendUnavailable

GROUP: Final = "The gateway itself"


async def get_health(_call: Call) -> Answer:
    return Answer(200, b"OK")


async def get_readiness(call: Call) -> Answer:
    if not call.services.is_ready():
        raise BackendUnavailable("the gateway does not know its functions yet", hint="try again")
    return Answer(200, b"OK")


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/healthz",
        handler=get_health,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Ask whether the gateway answers",
        answer=str,
        media=TEXT,
    ),
    Endpoint(
        method="HEAD",
        path="/healthz",
        handler=get_health,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Ask whether the gateway answers",
        documented=False,
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        handler=get_readiness,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Ask whether the gateway knows where calls go",
        answer=str,
        media=TEXT,
        errors=(errors.BackendUnavailable,),
    ),
)
