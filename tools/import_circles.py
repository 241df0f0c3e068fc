"""Fail when modules of the package import each other in a circle, or when what is shipped as data imports the platform.

Every import counts: at the top, inside a function, and below `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "hilbert"
DATA = ("functions", "templates")
"""Folders whose files run inside replicas, without the platform beside them."""


def main() -> int:
    source = ROOT / "src"
    found = imports_of(source, PACKAGE)
    circles = list(circles_of(found))
    for circle in circles:
        print("these modules import each other in a circle: " + ", ".join(circle))
    strays = [
        (module, sorted(targets))
        for module, targets in found.items()
        if module.startswith(tuple(f"{PACKAGE}.{name}." for name in DATA)) and targets
    ]
    for module, targets in strays:
        print(f"{module} runs without the platform and must not import {', '.join(targets)}")
    return 1 if circles or strays else 0


def imports_of(source: Path, package: str) -> dict[str, set[str]]:
    """Each module below `source/package` with the modules of that package that it imports."""
    files = {_name(path.relative_to(source)): path for path in sorted((source / package).rglob("*.py"))}
    return {module: set(_targets(module, path, files)) for module, path in files.items()}


def circles_of(imports: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Strongly connected sets of more than one module, each sorted (Tarjan's algorithm, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    waiting: set[str] = set()
    for root in sorted(imports):
        if root in index:
            continue
        work = [(root, iter(sorted(imports[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        waiting.add(root)
        while work:
            module, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    waiting.add(target)
                    work.append((target, iter(sorted(imports.get(target, ())))))
                    break
                if target in waiting:
                    low[module] = min(low[module], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[module])
                if low[module] == index[module]:
                    circle = []
                    while not circle or circle[-1] != module:
                        circle.append(stack.pop())
                        waiting.discard(circle[-1])
                    if len(circle) > 1:
                        yield sorted(circle)


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(module: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in files else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in files and name != module)


if __name__ == "__main__":
    sys.exit(main())
