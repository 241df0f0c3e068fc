"""Write the generated pages of docs/reference, or with --check fail when one is out of step with the code."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from hilbert.core import settings as core_settings

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


def main(argv: list[str]) -> int:
    stale = []
    for name, render in PAGES.items():
        path, text = REFERENCE / name, render()
        if "--check" in argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")
    for name in stale:
        print(f"docs/reference/{name} is out of step with the code: run 'make docs'")
    return 1 if stale else 0


def settings_page() -> str:
    """docs/reference/settings.md, from the structs of core.settings and the docstrings below their fields."""
    aliases: dict[str, list[str]] = {}
    for alias, key in core_settings.ALIASES.items():
        aliases.setdefault(key, []).append(alias)
    lines = [
        "# Settings",
        "",
        "Generated from `core/settings/` by `make docs`.",
        "",
        "Sources, the later ones winning: defaults, `hilbert.toml`, environment, flags (`--set KEY=VALUE`).",
        "`hilbert.toml` is looked for at `$HILBERT_CONFIG`, `~/.config/hilbert/hilbert.toml` and `/etc/hilbert/hilbert.toml`.",
        "In the environment, `gateway.port` is `HILBERT_GATEWAY__PORT`; other names that are understood are listed with each setting.",
        "Durations are written as Go writes them (`250ms`, `1m30s`); a bare number is seconds. Amounts are written as Kubernetes writes them (`64Mi`).",
        "`hilbert config show` prints each value with where it came from.",
    ]
    docs = _field_docs()
    section = ""
    for key, (kind, default) in core_settings.known_settings().items():
        head = key.partition(".")[0]
        if head != section:
            section = head
            lines += [
                "",
                f"## [{section}]",
                "",
                docs[section],
                "",
                "| setting | type | default | meaning |",
                "|---|---|---|---|",
            ]
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        also = "".join(f" Also `{alias}`." for alias in aliases.get(key, []))
        lines.append(f"| `{key}` | {_kind(kind)} | {f'`{shown}`' if shown else 'empty'} | {docs[key]}{also} |")
    return "\n".join(lines) + "\n"


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    return {"bool": "true or false", "int": "whole number", "str": "text"}.get(kind.__name__, kind.__name__.lower())


def _field_docs() -> dict[str, str]:
    """The docstring below each field, by dotted name; and each section's, by its name."""
    sources = sorted(Path(inspect.getfile(core_settings)).parent.glob("*.py"))
    nodes = [node for source in sources for node in ast.parse(source.read_text(encoding="utf-8")).body]
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    docs: dict[str, str] = {}
    for field in classes["Settings"].body:
        if not isinstance(field, ast.AnnAssign):
            continue
        section, struct = ast.unparse(field.target), classes[ast.unparse(field.annotation)]
        docs[section] = ast.get_docstring(struct) or ""
        for member, after in zip(struct.body, struct.body[1:], strict=False):
            if (
                isinstance(member, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                docs[f"{section}.{ast.unparse(member.target)}"] = " ".join(str(after.value.value).split())
    return docs


def cli_page() -> str:
    """docs/reference/cli.md, from the commands."""
    from hilbert.cli.frame.reference_page import render

    return render()


def stack_page() -> str:
    """docs/reference/stack.md, from the types of a stack file."""
    from hilbert.stack.schema import render_page

    return render_page()


def api_page() -> str:
    """docs/reference/api.md: its tables from the declarations of the endpoints, its text as it stands."""
    from hilbert.api.endpoints import ENDPOINTS
    from hilbert.api.reference import fill_page

    return fill_page((REFERENCE / "api.md").read_text(encoding="utf-8"), ENDPOINTS)


def limits_page() -> str:
    """docs/reference/limits.md, from the table of bounds."""
    from hilbert.server.bounds import render_page

    return render_page()


def rights_page() -> str:
    """docs/reference/rights.md, from the endpoints and the roles."""
    from hilbert.api.endpoints import ENDPOINTS
    from hilbert.api.reference import rights_page as render

    return render(ENDPOINTS)


def annotations_page() -> str:
    """docs/reference/annotations.md, from the table of labels and annotations."""
    from hilbert.core.keys import SECTIONS, WRITTEN, Key, Place

    stands = {Place.LABEL: "label of a function", Place.FUNCTION: "function", Place.NAMESPACE: "namespace"}

    def works(key: Key) -> str:
        if key.host and key.kubernetes:
            return "everywhere"
        return "one machine" if key.host else "Kubernetes"

    lines = [
        "# Labels and annotations",
        "",
        "Generated from `core/keys/` by `make docs`.",
        "",
        "Every label and annotation that Hilbert acts on. All others are kept and returned as they are; `hilbert deploy`, `describe` and `namespace get` warn of those that look like one of these and have no effect where they stand.",
        "",
        "- Whoever may deploy a function sets its labels and annotations. On a namespace, those that begin with `com.hilbert.` take the right [`System:Govern`](../concepts/namespaces.md#settings-of-a-namespace); the others are the tenant's own.",
        "- What can stand on both holds for all functions of the namespace; [limits](../concepts/limits.md) and the queue's bounds hold for all of them together. A function's own can then only ask for less of a limit, and replaces everything else unless the table says otherwise.",
        "- The column *works on* names the provider. On the other it is kept without effect, with a warning.",
        "- A *number* may be a fraction, such as `0.5`. A *duration* is written as in Go (`90s`, `5m`), an *amount* as in Kubernetes (`64Mi`, `500m`).",
    ]
    for title, keys in SECTIONS:
        lines += [
            "",
            f"## {title}",
            "",
            "| key | stands on | value | default | works on | meaning |",
            "|---|---|---|---|---|---|",
        ]
        for key in keys:
            places = " or ".join(stands[place] for place in key.places)
            lines.append(f"| `{key.name}` | {places} | {key.value} | {key.default} | {works(key)} | {key.meaning} |")
    lines += [
        "",
        "## For people and dashboards",
        "",
        "`com.openfaas.git-*` and `com.openfaas.ui.*` are kept and mean nothing to Hilbert.",
        "",
        "## Written by the platform",
        "",
        "Nobody sets these.",
        "",
        "| key | meaning |",
        "|---|---|",
        *(f"| `{key.name}` | {key.meaning} |" for key in WRITTEN),
    ]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "rights.md": rights_page,
    "settings.md": settings_page,
    "limits.md": limits_page,
    "annotations.md": annotations_page,
    "cli.md": cli_page,
    "stack.md": stack_page,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
