"""`/system/info`: versions, what runs the functions, and facts of this installation."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from hilbert.api.request import json
from hilbert.api.services import Services
from hilbert.core.ports import Diagnostics
from hilbert.wire.info import WireInfo, WireProvider, WireVersion

PATH = "/system/info"


def routes(services: Services) -> list[HTTPRouteHandler]:
    """The handler of this resource."""
    provider = services.provider

    @get(PATH)
    async def get_info() -> Response[bytes]:
        facts: Mapping[str, str] = await provider.facts() if isinstance(provider, Diagnostics) else {}
        version = WireVersion(sha=services.commit, release=services.release)
        return json(
            WireInfo(
                arch=platform.machine(),
                provider=WireProvider(
                    provider=f"hilbert-{provider.name}", version=version, orchestration=provider.name
                ),
                version=version,
                hilbert=facts,
            )
        )

    return [get_info]
