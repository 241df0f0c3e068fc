"""How far namespaces are kept apart in this installation: the setting `tenancy.isolation`, or what the first start chose."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hilbert.core.errors import InvalidSettings
from hilbert.core.isolation import STRICT, Promise
from hilbert.core.settings import TenancySettings
from hilbert.kit.files import write_file

_FILE: Final = "isolation"
"""In the state folder: what was chosen, so that a machine that loses what isolation needs refuses instead of weakening."""


def demanded(settings: TenancySettings, state: Path, *, fresh: bool, held: frozenset[Promise]) -> frozenset[Promise]:
    """What every replica must be promised. `held` is what this machine can promise; `fresh`: nothing is deployed yet.

    Raises `InvalidSettings` when the record of an earlier choice is damaged, and `OSError`.
    """
    chosen: str = settings.isolation
    if chosen == "auto":
        chosen = _recorded(state / _FILE, "strict" if fresh and held >= STRICT else "single-owner")
    return STRICT if chosen == "strict" else frozenset()


def _recorded(path: Path, otherwise: str) -> str:
    try:
        chosen = path.read_text().strip()
    except FileNotFoundError:
        write_file(path, f"{otherwise}\n".encode())
        return otherwise
    if chosen not in ("strict", "single-owner"):
        raise InvalidSettings(
            f"{path} is damaged: it should say strict or single-owner",
            hint="set tenancy.isolation to one of them, or remove the file",
        )
    return chosen
