"""The schema and the reference page are those of the types, and agree with what is read."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hilbert.core.errors import InvalidStack
from hilbert.stack.file import Document, StackFunction, parse_stack
from hilbert.stack.schema import render_page, stack_schema

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"

GOOD = [
    "",
    "version: 1.0\nprovider: {name: openfaas, gateway: http://x}\nfunctions: {}\n",
    "functions:\n  web:\n    image: x\n    environment: {A: NO, B: 1.10, C: ~, D: 0123}\n    skip_build: yes\n",
    "functions:\n  web:\n    labels: {com.openfaas.scale.min: 2}\n    limits: {memory: 128Mi, cpu: 0.5}\n",
    "x-common: &c {A: 1}\nfunctions:\n  web:\n    environment: {<<: *c, B: 2}\n",
    "functions:\n  web:\n",
    "configuration:\n  templates: [{name: node22}]\n  copy: [common]\n",
]

BAD = [
    "functions: [1]",
    "functions: {Web: {}}",
    "functions: {web: {secrets: x}}",
    "functions: {web: {environment: {A: {b: c}}}}",
    "functions: {web: {skip_build: maybe}}",
    "functions: {web: {image: [x]}}",
    "provider: {name: knative}",
    "version: 2.0",
]


def check(text: str) -> None:
    jsonschema.Draft202012Validator(stack_schema()).validate(yaml.safe_load(text) or {})


@pytest.mark.parametrize("text", GOOD)
def test_what_is_read_is_valid(text: str) -> None:
    """As an editor sees it, after YAML's own typing."""
    assert parse_stack(text).warnings == ()
    check(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_is_invalid(text: str) -> None:
    """The editor says so before the command line does."""
    with pytest.raises(InvalidStack):
        parse_stack(text)
    with pytest.raises(jsonschema.ValidationError):
        check(text)


def test_slips_are_marked() -> None:
    """What the command line warns of."""
    with pytest.raises(jsonschema.ValidationError):
        check("functions: {web: {enviroment: {}}}")


def test_every_key_is_described() -> None:
    """In the schema and on the page."""

    def walk(schema: dict[str, Any]) -> None:
        for key, inner in schema.get("properties", {}).items():
            assert inner["description"], key
            walk(inner)

    walk(stack_schema())
    page = render_page()
    for field in (*StackFunction.__struct_fields__, *Document.__struct_fields__):
        assert f"| `{field}` |" in page


def test_files_are_in_step() -> None:
    """`make docs` writes them."""
    written = json.dumps(stack_schema(), indent=2) + "\n"
    assert (REFERENCE / "stack.schema.json").read_text() == written
    assert resources.files("hilbert.stack").joinpath("stack.schema.json").read_text() == written
    assert (REFERENCE / "stack.md").read_text() == render_page()
