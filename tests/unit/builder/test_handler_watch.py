"""Noticing changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hilbert.builder.handler_watch import Watcher, look
from support.build import write


class Steps:
    """A clock whose sleeps do what a test says, one after the other."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.now = 0.0
        self._steps = list(steps)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self._steps:
            self._steps.pop(0)()


def watcher(watched: dict[str, list[Path]], steps: Steps) -> Watcher:
    return Watcher(watched, sleep=steps.sleep, now=lambda: steps.now)


def nothing() -> None:
    pass


@pytest.mark.parametrize("kind", ["edit", "new", "removed", "replaced", "in a new folder", "moved in"])
def test_every_kind_of_change_is_seen(tmp_path: Path, kind: str) -> None:
    """Editors write in many ways."""
    folder = write(tmp_path / "f", {"a": "1", "b/c": "2"})
    write(tmp_path, {"other": "3"})

    def change() -> None:
        match kind:
            case "edit":
                (folder / "b" / "c").write_text("22")
            case "new":
                (folder / "d").touch()
            case "removed":
                (folder / "a").unlink()
            case "replaced":
                # The same size and time, as a careful editor leaves it.
                before = (folder / "a").stat()
                write(tmp_path, {"new": "9"})
                os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
                (tmp_path / "new").replace(folder / "a")
            case "in a new folder":
                write(folder, {"x/y/z": ""})
            case "moved in":
                (tmp_path / "other").rename(folder / "other")

    steps = Steps(nothing, change)
    assert watcher({"f": [folder], "other": [tmp_path / "missing"]}, steps).wait() == {"f"}


def test_only_what_changed_is_named(tmp_path: Path) -> None:
    """One of two, then both; a single file can be watched, too."""
    write(tmp_path, {"a/x": "1", "b/x": "1", "stack.yaml": "1"})
    steps = Steps(
        lambda: (tmp_path / "b" / "x").write_text("22"),
        nothing,
        lambda: (tmp_path / "stack.yaml").write_text("22"),
        lambda: (tmp_path / "a" / "x").write_text("22"),
        nothing,
    )
    seen = watcher({"a": [tmp_path / "a"], "b": [tmp_path / "b"], "s": [tmp_path / "stack.yaml"]}, steps)
    assert seen.wait() == {"b"}
    assert seen.wait() == {"s", "a"}


def test_several_writes_are_one_change(tmp_path: Path) -> None:
    """A change counts once it is quiet; an endless stream of writes does not hold it off for ever."""
    file = tmp_path / "x"
    file.write_text("0")
    count = 0

    def again() -> None:
        nonlocal count
        count += 1
        file.write_text("x" * count)

    steps = Steps(again, again, again, nothing)
    seen = watcher({"x": [file]}, steps)
    assert seen.wait() == {"x"}
    assert count == 3
    steps = Steps(*[again] * 1000)
    seen = watcher({"x": [file]}, steps)
    assert seen.wait() == {"x"}
    assert steps.now < 2


def test_what_nobody_edits_is_not_looked_at(tmp_path: Path) -> None:
    """Editors' leftovers, caches and dependencies."""
    names = [".git/x", "node_modules/y/z", "__pycache__/h.pyc", ".handler.py.swp", "handler.py~", "x.tmp"]
    folder = write(tmp_path, dict.fromkeys(names, "") | {"handler.py": ""})
    assert [Path(path).name for path in look([folder])] == ["handler.py"]


def test_it_ends_when_told(tmp_path: Path) -> None:
    """Without a change."""
    asked = iter([False, False, True])
    steps = Steps()
    assert watcher({"a": [tmp_path]}, steps).wait(until=lambda: next(asked)) == set()
