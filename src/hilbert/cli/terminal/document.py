"""Data as JSON or YAML."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec

from hilbert.cli.terminal.output import harmless


def write_document(document: object, form: Literal["json", "yaml"]) -> None:
    """Write `document`, indented, to standard output."""
    plain = msgspec.to_builtins(document, str_keys=True)
    if form == "json":
        text = msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"
    else:
        from hilbert.stack.yamltext import write_yaml

        text = write_yaml(plain)
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
