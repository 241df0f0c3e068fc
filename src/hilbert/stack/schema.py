"""The JSON Schema of stack files and their reference page, both made from the structs of `wire.stack`.

The schema is for editors, which complete and check what is typed. It takes what `wire.stack` takes: any scalar where
text is wanted, and unknown keys nowhere but behind `x-`, so that an editor marks a slip that the command line warns of.
"""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from hilbert.stack import file as source

_SCALARS = ["string", "number", "boolean", "null"]


def stack_schema() -> dict[str, Any]:
    """The schema (draft 2020-12)."""
    docs = _docs()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file",
        "description": "Functions, how they are built and how they are deployed (stack.yaml).",
        **_object(source.Document, docs),
    }


def render_page() -> str:
    """`docs/reference/stack.md`."""
    docs = _docs()
    lines = [
        "# The stack file",
        "",
        "Generated from `stack/file.py` by `make docs`.",
        "",
        "`stack.yaml`, else `stack.yml`, else what `-f` names: a path or an http(s) URL.",
        (
            "Text stays as it is written: `NO`, `1.10` and `0123` are text in an environment, as in OpenFaaS; where a yes or no is wanted, "
            "`yes`, `on` and `true` are yes."
        ),
        "Keys that are not known have no effect and are warned of, but for those that begin with `x-`.",
        "A key that stands twice, a second document, nesting deeper than 32 and files above 1 MiB are refused.",
        "",
        "Before it is read as YAML, `${VARIABLE}` is replaced from the environment; `--envsubst=false` turns that off.",
        (
            "An unset variable is empty. `${V:-default}`, `${V:offset:length}`, `${V^^}`, `${V,,}`, `${#V}`, `${V#pattern}`, `${V%pattern}`, "
            "`${V/text/new}` and their longer forms work as in OpenFaaS; `$${` stands for `${`."
        ),
        "",
        (
            "Editors check and complete the file with [its JSON Schema](stack.schema.json), which also ships inside the package; for the YAML language server, "
            "write this as its first line:"
        ),
        "",
        "```yaml",
        "# yaml-language-server: $schema=./stack.schema.json",
        "```",
    ]
    for kind, path in _structs():
        lines += [
            "",
            f"## `{path}`" if path else "## The file",
            "",
            docs[kind.__name__][""],
            "",
            "| key | type | meaning |",
            "|---|---|---|",
        ]
        hints = get_type_hints(kind)
        for field in msgspec.structs.fields(kind):
            meaning = docs[kind.__name__][field.name].replace("|", "\\|")
            lines.append(f"| `{field.encode_name}` | {_type_name(hints[field.name])} | {meaning} |")
    return "\n".join(lines) + "\n"


def _object(kind: type[Any], docs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties = {}
    for field in msgspec.structs.fields(kind):
        described = {"description": docs[kind.__name__][field.name]}
        properties[field.encode_name] = {**described, **_schema(hints[field.name], docs)}
    if kind is source.Document:
        properties["version"]["enum"] = ["1.0", 1.0, "", None]
        properties["functions"]["propertyNames"] = {"pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
    if kind is source.Provider:
        properties["name"]["enum"] = ["openfaas", "", None]
    return {
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": {"^x-": {}, "^<<$": {}},
        "additionalProperties": False,
    }


def _schema(kind: Any, docs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    if kind is str:
        return {"type": _SCALARS}
    if kind is bool:
        return {"enum": [True, False, "yes", "no", "on", "off", "y", "n", "true", "false", "", None]}
    if get_origin(kind) in (types.UnionType, Union):
        return _schema(_inner(kind), docs)
    if get_origin(kind) is tuple:
        return {"type": ["array", "null"], "items": _schema(get_args(kind)[0], docs)}
    if _is_mapping(kind):
        return {"type": ["object", "null"], "additionalProperties": _schema(get_args(kind)[1], docs)}
    return _object(kind, docs)


def _type_name(kind: Any) -> str:
    if kind is str:
        return "text"
    if kind is bool:
        return "yes or no"
    if get_origin(kind) in (types.UnionType, Union):
        return _type_name(_inner(kind))
    if get_origin(kind) is tuple:
        return f"list of {_type_name(get_args(kind)[0])}"
    if _is_mapping(kind):
        return f"map to {_type_name(get_args(kind)[1])}"
    path = next(path for found, path in _structs() if found is kind)
    anchor = "".join(char for char in path if char.isalnum())
    return f"[`{path}`](#{anchor})"


def _structs() -> Iterator[tuple[type[Any], str]]:
    yield source.Document, ""
    yield source.Provider, "provider"
    yield source.StackFunction, "functions.<name>"
    yield source.Amounts, "functions.<name>.limits"
    yield source.Configuration, "configuration"
    yield source.TemplateSource, "configuration.templates[]"


def _inner(kind: Any) -> Any:
    return next(part for part in get_args(kind) if part is not type(None))


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _docs() -> dict[str, dict[str, str]]:
    """The docstrings of the structs (under the empty name) and of their fields, in one line each."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(source)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        texts = {"": " ".join((ast.get_docstring(node) or "").split())}
        for field, following in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                texts[field.target.id] = " ".join(str(following.value.value).split())
        found[node.name] = texts
    return found
