"""`config`: the settings that a platform started from here would have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from hilbert.cli.frame.flags import PLAIN, Shape, flag
from hilbert.cli.frame.parsing import pairs
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, out
from hilbert.core import settings as core_settings


class Value(msgspec.Struct, frozen=True):
    """One setting."""

    setting: str
    value: str
    source: str


def show(
    *,
    changed: Annotated[bool, flag("Only settings that differ from the default.", "--changed")] = False,
    config: Annotated[str, flag("Configuration file.", "--config")] = "",
    given: Annotated[tuple[str, ...], flag("Setting KEY=VALUE; repeatable.", "--set")] = (),
    shape: Shape = PLAIN,
) -> None:
    loaded = core_settings.load(file=Path(config) if config else None, flags=dict(pairs(given, "--set")))
    found = []
    for key in core_settings.known_settings():
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.settings, section), name)
        source = loaded.origins.get(key, "default")
        if source != "default" or not changed:
            found.append(Value(key, str(value).lower() if isinstance(value, bool) else str(value), source))
    if shape.format != "table":
        write_document(found, shape.format)
        return
    for line in columns([("SETTING", "VALUE", "SOURCE"), *((line.setting, line.value, line.source) for line in found)]):
        out(line)
