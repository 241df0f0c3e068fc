"""Every endpoint of the REST API, and every page."""

from __future__ import annotations

from typing import Final

import msgspec

from hilbert.api import (
    access,
    alert,
    async_calls,
    audit,
    dead_letters,
    functions,
    health,
    info,
    limits,
    logs,
    namespaces,
    oauth,
    openapi,
    pages,
    queues,
    scaling,
    schedules,
    secrets,
    tokens,
    usage,
)
from hilbert.api.endpoint import Endpoint

DESCRIBED: Final[tuple[Endpoint, ...]] = (
    *functions.ENDPOINTS,
    *scaling.ENDPOINTS,
    *logs.ENDPOINTS,
    *alert.ENDPOINTS,
    *namespaces.ENDPOINTS,
    *limits.ENDPOINTS,
    *secrets.ENDPOINTS,
    *tokens.ENDPOINTS,
    *access.ENDPOINTS,
    *oauth.ENDPOINTS,
    *async_calls.ENDPOINTS,
    *queues.ENDPOINTS,
    *dead_letters.ENDPOINTS,
    *schedules.ENDPOINTS,
    *audit.ENDPOINTS,
    *usage.ENDPOINTS,
    *health.ENDPOINTS,
    *info.ENDPOINTS,
)


def description() -> bytes:
    """The OpenAPI document as it is served."""
    return msgspec.json.format(msgspec.json.encode(openapi.document(DESCRIBED)), indent=2)


ENDPOINTS: Final[tuple[Endpoint, ...]] = (*DESCRIBED, *pages.endpoints(description))
