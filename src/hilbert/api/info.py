"""`/system/info`: versions, what runs the functions, and facts of this installation."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final

from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import Call, Endpoint
from hilbert.core import errors
from hilbert.core.identity import Action
from hilbert.core.ports import Diagnostics
from hilbert.wire.info import GatewayInfo, ProviderInfo, VersionInfo


async def get_info(call: Call) -> Answer:
    provider = call.services.provider
    facts: Mapping[str, str] = await provider.facts() if isinstance(provider, Diagnostics) else {}
    domain = call.services.settings.gateway.functions_domain
    if domain not in ("", "fn.localhost"):
        facts = {**facts, "functions-domain": domain}
    version = VersionInfo(sha=call.services.commit, release=call.services.release)
    return json(
        GatewayInfo(
            arch=platform.machine(),
            provider=ProviderInfo(provider=f"hilbert-{provider.name}", version=version, orchestration=provider.name),
            version=version,
            hilbert=facts,
        )
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/info",
        handler=get_info,
        access=Action.SYSTEM_INFO,
        group="The gateway itself",
        summary="Read versions, architecture, provider, and under `hilbert` the facts of this installation",
        answer=GatewayInfo,
        errors=(errors.BackendUnavailable,),
    ),
)
