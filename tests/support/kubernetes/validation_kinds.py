"""The checks of single kinds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from support.kubernetes.status import Cause, Json, forbidden_field, invalid, required

_CONFIG_KEY: Final = re.compile(r"^[-._a-zA-Z0-9]+$")
_CONFIG_KEY_TEXT: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def _config_keys(data: Json, field: str) -> list[Cause]:
    causes = []
    for key in data:
        where = f"{field}[{key}]"
        if not _CONFIG_KEY.match(key):
            causes.append(invalid(where, key, _CONFIG_KEY_TEXT))
        elif key in (".", ".."):
            causes.append(invalid(where, key, f"must not be '{key}'"))
    return causes


def _config_map(obj: Json, old: Json | None) -> list[Cause]:
    causes = _config_keys(obj.get("data") or {}, "data")
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            causes.append(forbidden_field("immutable", "field is immutable when `immutable` is set"))
        if obj.get("data") != old.get("data"):
            causes.append(forbidden_field("data", "field is immutable when `immutable` is set"))
    return causes


def containers(items: list[Json], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(items):
        where = f"{field}[{index}]"
        if not item.get("name"):
            causes.append(required(f"{where}.name"))
        if not item.get("image"):
            causes.append(required(f"{where}.image"))
    return causes


def _replicas(obj: Json) -> list[Cause]:
    replicas = obj["spec"].get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        return [invalid("spec.replicas", replicas, "must be greater than or equal to 0")]
    return []


def _deployment(obj: Json, old: Json | None) -> list[Cause]:
    causes = _replicas(obj)
    causes.extend(containers(obj["spec"]["template"]["spec"].get("containers") or [], "spec.template.spec.containers"))
    return causes


CHECKS: Final[dict[str, Callable[[Json, Json | None], list[Cause]]]] = {
    "configmaps": _config_map,
    "deployments.apps": _deployment,
}
