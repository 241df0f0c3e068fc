"""Data as JSON or YAML."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec


def write(document: object, form: Literal["json", "yaml"]) -> None:
    """Write `document`, indented, to standard output."""
    plain = msgspec.to_builtins(document, str_keys=True)
    if form == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n")
        return
    import yaml

    yaml.safe_dump(plain, sys.stdout, sort_keys=False, allow_unicode=True)
