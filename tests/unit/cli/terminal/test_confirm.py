"""The question before something is destroyed: asked at a terminal only, and only a yes is a yes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from hilbert.cli.frame import run
from hilbert.cli.frame.failures import Failed
from hilbert.cli.terminal.confirm import confirm
from support.cli import Gateway


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch: pytest.MonkeyPatch, answer: str = "") -> Terminal:
    """What the person sees who types `answer`."""
    seen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", seen)
    return seen


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", " YES \n"])
def test_a_yes(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """In the ways in which it is typed."""
    terminal = at_terminal(monkeypatch, answer)
    confirm("Delete it?", yes=False)
    assert terminal.getvalue() == "Delete it? [y/N] "


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "no\n", "yep\n", "x"])
def test_anything_else_is_a_no(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """The end of the input, too."""
    at_terminal(monkeypatch, answer)
    with pytest.raises(Failed, match="nothing was removed"):
        confirm("Delete it?", yes=False)


def test_yes_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked."""
    terminal = at_terminal(monkeypatch)
    confirm("Delete it?", yes=True)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stdin", [io.StringIO("n\n"), None])
def test_a_script_is_not_asked(monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None) -> None:
    """It could not answer, and would hang."""
    terminal = at_terminal(monkeypatch)
    monkeypatch.setattr(sys, "stdin", stdin)
    confirm("Delete it?", yes=False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["remove"], "Remove 1 function (web.dev)? [y/N] "),
        (["namespace", "delete", "dev"], "Delete the namespace dev and everything in it? [y/N] "),
    ],
    ids=["remove", "namespace delete"],
)
def test_commands_that_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], question: str) -> None:
    """A no leaves everything as it was; `--yes` does not ask."""
    terminal = at_terminal(monkeypatch, "n\n")
    gateway = Gateway().start()
    gateway.password = None
    gateway.namespaces["dev"] = {"name": "dev"}
    gateway.add("web", "dev")
    monkeypatch.setenv("OPENFAAS_URL", gateway.url)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HILBERT_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack.yaml").write_text("functions: {web: {image: web:1, namespace: dev}}\n")
    try:
        assert run.run(words) == 1
        assert terminal.getvalue().startswith(question)
        assert ("dev", "web") in gateway.functions
        assert "dev" in gateway.namespaces
        assert run.run([*words, "--yes"]) == 0
        assert ("dev", "web") not in gateway.functions or "dev" not in gateway.namespaces
    finally:
        gateway.close()
