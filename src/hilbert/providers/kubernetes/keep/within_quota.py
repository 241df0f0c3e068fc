"""Creating what the namespace's quota has room for by our own count."""

from __future__ import annotations

from typing import Final

from hilbert.kit.pace import Pace
from hilbert.kit.retry import retry
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused
from hilbert.providers.kubernetes.cluster.kinds import Kind, T
from hilbert.providers.kubernetes.cluster.objects import Manifest

_PACE: Final = Pace(first=0.2, most=1.5, jitter=0.3)
_TRIES: Final = 6


async def create(api: Api, kind: Kind[T], manifest: Manifest, namespace: str) -> T:
    """As `Api.create`, for what has been counted and fits.

    The cluster's ResourceQuota goes on counting what has just been removed for some seconds; its refusal is believed only
    when it lasts for about four.
    """
    return await retry(
        lambda: api.create(kind, manifest, namespace),
        pace=_PACE,
        tries=_TRIES,
        again=lambda exc: isinstance(exc, Refused) and exc.is_over_quota,
        sleep=api.clock.sleep,
    )
