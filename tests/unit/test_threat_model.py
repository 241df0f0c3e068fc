"""The threat model names tests that exist, all attacks that are tried, and what the code promises at each level."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

from hilbert.core.isolation import STRICT, Promise
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.runtimes.network.survey import Abilities
from hilbert.runtimes.process.interpreter import this_interpreter
from hilbert.runtimes.process.machine import Machine
from hilbert.runtimes.process.sandbox import landlock
from hilbert.runtimes.process.sandbox.bubblewrap import Bubblewrap
from hilbert.runtimes.process.sandbox.confined import Landlock, Plain
from hilbert.runtimes.process.sandbox.contract import Sandbox
from hilbert.runtimes.replica import seccomp
from hilbert.runtimes.replica.limits import ProcessLimits
from hilbert.runtimes.replica.users import Users

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/concepts/threat-model.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)))
CONDITIONS = ("filter", "Linux 6.12", "own network", "control groups", "sized mounts")
COLUMNS = {
    "bubblewrap with users": ("bubblewrap", True),
    "bubblewrap without users": ("bubblewrap", False),
    "landlock with users": ("landlock", True),
    "landlock without users": ("landlock", False),
    "plain with users": ("process", True),
    "plain without users": ("process", False),
}
"""The level and whether each namespace has a user of its own."""


def rows(first: str) -> list[list[str]]:
    """The table whose head begins with these cells: head and body, without the line between."""
    start = PAGE.index(f"| {first} |")
    lines = itertools.takewhile(lambda line: line.startswith("|"), PAGE[start:].splitlines())
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [table[0], *table[2:]]


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_is_named_exists(name: str) -> None:
    file, _, function = name.partition("::")
    assert (ROOT / file).is_file()
    if function:
        tree = ast.parse((ROOT / file).read_text())
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert function in found


def test_every_file_of_the_attacks_is_named() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "tests/attack").rglob("*.py") if path.stat().st_size}
    assert there <= {name.partition("::")[0] for name in NAMED}


def test_every_cve_is_one_that_a_named_test_names() -> None:
    tests = "".join((ROOT / file).read_text() for file in {name.partition("::")[0] for name in NAMED})
    assert set(re.findall(r"CVE-\d+-\d+", PAGE)) <= set(re.findall(r"CVE-\d+-\d+", tests))


def test_every_promise_names_an_attack_that_shows_it() -> None:
    _, *body = rows("promise | a function cannot")
    assert [row[0].strip("`") for row in body] == list(Promise)
    for promise, _, shown, _ in body:
        assert re.search(r"`tests/(attack|contract)/", shown), promise


def holds(cell: str, true: frozenset[str]) -> bool:
    """What a cell means: `always`, `never`, or conditions with `and` or `or` between."""
    if cell in ("always", "never"):
        return cell == "always"
    alternatives = [part.split(" and ") for part in cell.split(" or ")]
    assert {name for part in alternatives for name in part} <= set(CONDITIONS), cell
    return any(true.issuperset(part) for part in alternatives)


def machine(level: str, *, users: bool, true: frozenset[str]) -> Machine:
    """What `survey` would make where these conditions are true."""
    interpreter = this_interpreter()
    features = "--size --disable-userns" if "sized mounts" in true else ""
    sandboxes: dict[str, Sandbox] = {
        "bubblewrap": Bubblewrap(interpreter, executable="bwrap", features=features, scratch=1 << 20),
        "landlock": Landlock(interpreter),
        "process": Plain(interpreter),
    }
    limiter = ProcessLimits()
    limiter.whole = "control groups" in true
    return Machine(
        interpreter=interpreter,
        sandbox=sandboxes[level],
        limiter=limiter,
        limiter_note="",
        users=Users("hilbert-test") if users else None,
        own_network="own network" in true,
        abilities=Abilities(own=True),
        refused={},
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_what_each_level_promises_is_what_the_page_says(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under every combination of the conditions that the page names."""
    head, *body = rows("promise | bubblewrap with users")
    assert head[1:] == list(COLUMNS)
    assert [row[0].strip("`") for row in body] == list(Promise)
    cells = {Promise(row[0].strip("`")): row[head.index(column)] for row in body}
    level, own = COLUMNS[column]
    monkeypatch.setattr(seccomp, "program", lambda **_: b"x")
    for choice in itertools.product((False, True), repeat=len(CONDITIONS)):
        true = frozenset(itertools.compress(CONDITIONS, choice))
        monkeypatch.setattr(seccomp, "supported", lambda true=true: "filter" in true)
        monkeypatch.setattr(landlock, "abi", lambda true=true: 6 if "Linux 6.12" in true else 5)
        said = {promise for promise, cell in cells.items() if holds(cell, true)}
        made = machine(level, users=own, true=true)
        assert said == made.promises(NetworkUse()), sorted(true)
        if "own network" not in true:
            with_own = machine(level, users=own, true=true | {"own network"})
            assert said == with_own.promises(NetworkUse(kind=NetworkKind.HOST)), sorted(true)
    everything = machine(level, users=own, true=frozenset(CONDITIONS)).promises(NetworkUse())
    assert (everything == STRICT) == (level == "bubblewrap" and own), "strict is refused elsewhere"
