"""The pages about the watchdog say what it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hilbert.watchdog.config
from support.watchdog import watchdog

ROOT = Path(hilbert.watchdog.config.__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference" / "watchdog.md"
GUIDE = ROOT / "docs" / "guides" / "python-handler.md"

pytestmark = pytest.mark.skipif(not REFERENCE.exists(), reason="the documentation is not installed")


def test_every_variable_is_in_the_reference() -> None:
    """What the configuration reads, the page lists."""
    source = Path(hilbert.watchdog.config.__file__).read_text()
    names = set(re.findall(r'(?:environ\.get|reader\.\w+)\("(\w+)"', source))
    assert len(names) > 25
    text = REFERENCE.read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in text and name not in OWN] == []


OWN = {"OPENFAAS_NAME", "OPENFAAS_NAMESPACE"}
"""Set for the function by the runtime, not read from its author."""


BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text() if GUIDE.exists() else "", re.DOTALL)
ANSWERS = [(200, "Hello, you\n"), (200, "data: 0\n\ndata: 1\n\n"), (200, "slept\n"), (401, "")]


@pytest.mark.parametrize(("source", "answer"), list(zip(BLOCKS, ANSWERS, strict=True)), ids=range(len(BLOCKS)))
def test_the_guides_handlers_run(source: str, answer: tuple[int, str]) -> None:
    """Each example, as it stands but for its waiting."""
    hurried = source.replace("range(10)", "range(2)").replace("sleep(1)", "sleep(0)")
    with watchdog(start=False, handler=hurried) as function:
        (function.folder / "token").write_text("x")
        function.env = dict(function.env) | {"HILBERT_SECRETS_DIR": str(function.folder)}
        function.start()
        function.wait_ready()
        reply = function.call(path="/?name=you")
    assert (reply.status, reply.text) == answer
