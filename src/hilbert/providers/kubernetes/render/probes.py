"""Health checks of a function, from its annotations (`com.openfaas.health.http.*`, `com.openfaas.ready.http.*`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from hilbert.core.errors import HilbertError, InvalidSpec
from hilbert.core.values import Duration, parse_whole
from hilbert.providers.kubernetes.cluster.names import FUNCTION_PORT

_HEALTH: Final = "com.openfaas.health.http."
_READY: Final = "com.openfaas.ready.http."
_DEFAULT_PATH: Final = "/_/health"
_LONGEST: Final = 3600

_LIVENESS: Final = {"initialDelaySeconds": 0, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 3}
_READINESS: Final = {**_LIVENESS, "successThreshold": 1}
"""OpenFaaS's chart has these values."""


def liveness(annotations: Mapping[str, str]) -> dict[str, Any]:
    """Raises `InvalidSpec`, naming the annotation."""
    return _probe(annotations, _HEALTH, _LIVENESS, default_path=_DEFAULT_PATH)


def readiness(annotations: Mapping[str, str]) -> dict[str, Any]:
    """The path is that of the health check unless stated: a classic watchdog would fork the function for `/_/ready`.

    Raises `InvalidSpec`, naming the annotation.
    """
    health_path = annotations.get(f"{_HEALTH}path") or _DEFAULT_PATH
    return _probe(annotations, _READY, _READINESS, default_path=health_path)


def _probe(
    annotations: Mapping[str, str], prefix: str, numbers: Mapping[str, int], *, default_path: str
) -> dict[str, Any]:
    path = annotations.get(f"{prefix}path") or default_path
    if not path.startswith("/") or len(path) > 1024 or not path.isprintable():
        raise InvalidSpec(f"annotation {prefix}path: must be a path that begins with /, of at most 1024 characters")
    probe: dict[str, Any] = {"httpGet": {"path": path, "port": FUNCTION_PORT, "scheme": "HTTP"}}
    for field, default in numbers.items():
        probe[field] = _seconds(annotations, prefix, field, default)
    return probe


def _seconds(annotations: Mapping[str, str], prefix: str, field: str, default: int) -> int:
    text = annotations.get(prefix + field)
    if text is None and field == "initialDelaySeconds" and (old := annotations.get(f"{prefix}initialDelay")):
        try:
            return math.ceil(Duration.parse(old, bare_seconds=True).seconds)
        except HilbertError as exc:
            raise InvalidSpec(f"annotation {prefix}initialDelay: {exc.message}") from exc
    if text is None:
        return default
    least = 0 if field == "initialDelaySeconds" else 1
    try:
        return parse_whole(text, least=least, most=_LONGEST)
    except HilbertError as exc:
        raise InvalidSpec(f"annotation {prefix}{field}: {exc.message}") from exc
