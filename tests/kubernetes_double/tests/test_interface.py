"""The double is a product of its own: narrow to use, and without knowledge of what is tested with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import kubernetes_double

HERE = Path(kubernetes_double.__file__).parent
REPOSITORY = HERE.parents[1]


def imports(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Modules that a file imports, and which names from each."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", tuple(alias.name for alias in node.names)


def test_others_use_the_exported_names_alone() -> None:
    users = 0
    for folder in ("tests", "bench", "src", "examples", "tools"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            if file.is_relative_to(HERE):
                continue
            for module, names in imports(file):
                if module.partition(".")[0] != "kubernetes_double":
                    continue
                users += 1
                assert module == "kubernetes_double", f"{file} imports {module}"
                assert set(names) <= set(kubernetes_double.__all__), f"{file} imports {names}"
    assert users


def test_the_double_knows_nothing_of_hilbert_and_of_other_tests() -> None:
    for file in HERE.rglob("*.py"):
        for module, _ in imports(file):
            assert module.partition(".")[0] not in ("hilbert", "support"), f"{file} imports {module}"
