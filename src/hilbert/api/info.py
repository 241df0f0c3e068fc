"""`/system/info`: versions, what runs the functions, and facts of this installation."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final

from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import Call, Endpoint
from hilbert.api.services import Services
from hilbert.core import errors
from hilbert.core.identity import Action
from hilbert.core.ports import Diagnostics
from hilbert.iam.basic import PasswordFolder
from hilbert.wire.info import GatewayInfo, ProviderInfo, VersionInfo


async def get_info(call: Call) -> Answer:
    provider = call.services.provider
    facts: Mapping[str, str] = await provider.facts() if isinstance(provider, Diagnostics) else {}
    domain = call.services.settings.gateway.functions_domain
    if domain not in ("", "fn.localhost"):
        facts = {**facts, "functions-domain": domain}
    facts = {**facts, **_sign_in(call.services)}
    version = VersionInfo(sha=call.services.commit, release=call.services.release)
    return json(
        GatewayInfo(
            arch=platform.machine(),
            provider=ProviderInfo(provider=f"hilbert-{provider.name}", version=version, orchestration=provider.name),
            version=version,
            hilbert=facts,
        )
    )


def _sign_in(services: Services) -> Mapping[str, str]:
    """Who can get in, as far as `hilbert doctor` judges it."""
    found: dict[str, str] = {}
    if services.credentials is None:
        found["sign-in.password"] = "none"
    elif isinstance(services.credentials, PasswordFolder):
        found["sign-in.password"] = "on" if services.credentials.is_on else "off"
    if services.token_store is not None:
        endless = [token for token in services.token_store.all() if token.expires_at is None]
        found["sign-in.endless-tokens"] = str(len(endless))
    if services.access_registry is not None:
        for name, why in services.access_registry.open_roles().items():
            found[f"sign-in.role.{name}"] = why
        if services.access_registry.issuers() and not services.settings.iam.public_url:
            found["sign-in.public-url"] = "not set"
        faults = services.sign_on.keys.faults() if services.sign_on is not None else {}
        for issuer in services.access_registry.issuers():
            if issuer.iss in faults:
                found[f"sign-in.issuer.{issuer.name}"] = faults[issuer.iss]
    return found


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
