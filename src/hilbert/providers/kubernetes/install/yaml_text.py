"""YAML as people and patches read it: in the order of writing, without anchors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as in the base class
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Plain.add_representer(str, _text)


def dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, width=10_000)


def dump_each(manifests: Iterable[Mapping[str, Any]]) -> str:
    """Documents of one stream, each begun with `---`."""
    return "".join(f"---\n{dump(manifest)}" for manifest in manifests)
