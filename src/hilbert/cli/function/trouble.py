"""Why a function does not come up, in the words of `describe`, for the commands that meet it while doing something else."""

from __future__ import annotations

from hilbert.client.sync import Client
from hilbert.core.errors import HilbertError


def trouble_of(client: Client, name: str, namespace: str) -> str:
    """Reason and sentence; empty when it is well, or the gateway does not say or is not to be asked."""
    try:
        detail = client.get_function(name, namespace).hilbert
    except HilbertError:
        return ""
    if detail is None or detail.phase != "failed":
        return ""
    return ": ".join(part for part in (detail.reason, detail.message) if part)
