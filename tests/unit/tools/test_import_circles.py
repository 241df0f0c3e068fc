"""The tool that finds circles of imports finds them, of every kind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("import_circles", ROOT / "tools" / "import_circles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load()

TOP = "from pack.b import x\n"
LAZY = "def f():\n    import pack.b\n"
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack import b\n"


@pytest.mark.parametrize("how", [TOP, LAZY, TYPES])
def test_a_circle_is_found_however_it_is_closed(tmp_path: Path, how: str) -> None:
    (tmp_path / "pack").mkdir()
    for name, text in {
        "__init__": "",
        "a": how,
        "b": "import pack.c\n",
        "c": "from pack.a import f\n",
        "d": TOP,
    }.items():
        (tmp_path / "pack" / f"{name}.py").write_text(text)
    found = tool.imports_of(tmp_path, "pack")
    assert list(tool.circles_of(found)) == [["pack.a", "pack.b", "pack.c"]]


def test_what_only_goes_down_is_no_circle() -> None:
    imports = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"a"}}
    assert list(tool.circles_of(imports)) == []


def test_two_circles_are_two() -> None:
    imports = {"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}, "e": {"e2"}, "e2": set()}
    assert sorted(tool.circles_of(imports)) == [["a", "b"], ["c", "d"]]


def test_the_package_has_none() -> None:
    assert tool.main() == 0
