"""What `pyproject.toml` declares and what the code imports are the same."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "hilbert"
BROUGHT = (PACKAGE / "templates", PACKAGE / "watchdog" / "flask_calls.py")
"""Run with the dependencies of the function that is built from it, not with Hilbert's."""

LATER = {"compression"}
"""In the standard library from Python 3.14 on; imported there only."""
DATA = {"tzdata"}
"""Holds no code: the standard library reads it."""


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    return {normal(re.split(r"[\[<>=!~; ]", text)[0]) for text in texts}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_by(text: str) -> set[str]:
    """First parts of the modules that a source imports, by statement or by `import_module`."""
    found: set[str] = set()
    dynamic = "import_module(" in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
        elif dynamic and isinstance(node, ast.Constant) and re.fullmatch(r"[a-z]\w*(\.[a-z]\w*)+", str(node.value)):
            found.add(str(node.value).partition(".")[0])
    return found


def imported() -> dict[str, set[str]]:
    """Third-party modules with the files that import them."""
    distributions = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if not any(path.is_relative_to(place) for place in BROUGHT):
            text = path.read_text(encoding="utf-8")
            for module in imported_by(text) - sys.stdlib_module_names - LATER - {"hilbert"}:
                if module in distributions or "import_module(" not in text:
                    found.setdefault(module, set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_dependency_is_imported() -> None:
    """One that is not costs every user a download for nothing."""
    distributions = packages_distributions()
    used = {normal(name) for module in imported() for name in distributions.get(module, [module])}
    assert declared() - used - DATA == set()


def test_every_import_is_declared() -> None:
    """One that is not works only as long as another package happens to bring it."""
    distributions = packages_distributions()
    undeclared = {
        module: files
        for module, files in imported().items()
        if not {normal(name) for name in distributions.get(module, [module])} & declared()
    }
    assert undeclared == {}


def test_every_extra_brings_something() -> None:
    """An empty extra promises what is not there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name, texts in extras.items() if not texts] == []
