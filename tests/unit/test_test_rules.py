"""What every test keeps to, where a linter cannot tell: no test waits for a fixed time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
MODULES = {"asyncio", "time", "anyio"}

ALLOWED = {
    "support/watchdog_function/server.py": "the function under test holds a connection for as long as it is let",
    "kubernetes_double/controllers/kubelet.py": "the double's Pods take a time to end, as its pace says",
    "kubernetes_double/serving/app.py": "the double answers late when a test asks for that",
    "kubernetes_double/replay/runner.py": "a replay: a followed log gets time to begin, a watch to receive what must not come",
    "contract/dataplane/test_refusals.py": "a function that is slower than the client's limits",
    "unit/builder/test_programs.py": "builds that take a time, so that they overlap",
}
"""Files whose sleeps are what something under test does, with the reason."""


def fixed_sleeps(source: str) -> Iterator[int]:
    """Lines that sleep for longer than 0 s, and not in a loop of the same function that ends when something has come true."""

    def visit(node: ast.AST, *, asks_again: bool) -> Iterator[int]:
        if isinstance(node, ast.Call) and not asks_again and _sleeps(node.func) and not _is_zero(node):
            yield node.lineno
        for child in ast.iter_child_nodes(node):
            inside = _asks_again(child) or (asks_again and not isinstance(child, FUNCTIONS))
            yield from visit(child, asks_again=inside)

    yield from visit(ast.parse(source), asks_again=False)


def _asks_again(node: ast.AST) -> bool:
    """Whether it is a `while` loop, or a `for` loop that can be left early."""
    left_early = isinstance(node, ast.For) and any(isinstance(one, ast.Return | ast.Break) for one in ast.walk(node))
    return isinstance(node, ast.While) or left_early


def _sleeps(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id == "sleep"
    return (
        isinstance(called, ast.Attribute)
        and called.attr == "sleep"
        and isinstance(called.value, ast.Name)
        and called.value.id in MODULES
    )


def _is_zero(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def test_no_test_waits_for_a_fixed_time() -> None:
    """Wait until something has happened instead; for what must not happen, until something has that comes after it."""
    found = {
        str(path.relative_to(TESTS)): lines
        for path in sorted(TESTS.rglob("*.py"))
        if (lines := list(fixed_sleeps(path.read_text())))
    }
    assert {name: lines for name, lines in found.items() if name not in ALLOWED} == {}
    assert ALLOWED.keys() <= found.keys(), "an exception that is no longer needed"


def test_fixed_sleeps_are_found() -> None:
    source = """
async def waits():
    await asyncio.sleep(0.1)
    for _ in range(3):
        time.sleep(PAUSE)
    for _ in range(3):
        if done():
            break
        time.sleep(PAUSE)
    while not done():
        await asyncio.sleep(0.1)
        def inner():
            sleep(1)
    await asyncio.sleep(0)
    clock.sleep(5)
"""
    assert list(fixed_sleeps(source)) == [3, 5, 13]
