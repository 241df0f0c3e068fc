"""Help fits the terminal that it is read at."""

from __future__ import annotations

import pytest

from hilbert.cli.frame import command_help
from hilbert.cli.frame import help as overview
from hilbert.cli.frame.commands import NOUNS, all_commands
from hilbert.cli.frame.help import render_help
from hilbert.cli.terminal.width import hanging, paragraphs, wrap


@pytest.mark.parametrize("width", [60, 80, 100])
def test_every_page_fits(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """But for examples and the usage line, which are there to be copied."""
    for module in (overview, command_help):
        monkeypatch.setattr(module, "screen_width", lambda: width)
    pages = [[], *(noun.name.split(" ") for noun in NOUNS), *(command.path.split(" ") for command in all_commands())]
    for words in pages:
        text = render_help(words) or ""
        assert text
        wide = [line for line in text.splitlines() if len(line) > width]
        assert [line for line in wide if not line.startswith(("Usage: ", "  hilbert ", "  echo ", "  source "))] == []


def test_wrapping() -> None:
    """Between words; a flag's name is not torn at its hyphens, and a long word stays whole."""
    assert wrap("a b", 10) == ["a b"]
    assert wrap("use --no-cache now", 12) == ["use", "--no-cache", "now"]
    assert wrap("", 5) == [""]


def test_a_hanging_text() -> None:
    """Beside its head, or below one that is too long."""
    assert hanging("  -a", "x " * 15 + "y", column=8, width=30) == ["  -a    " + "x " * 10 + "x", "        x x x x y"]
    assert hanging("  --very-long", "text", column=8, width=40) == ["  --very-long", "        text"]
    assert hanging("  -a", "", column=8, width=40) == ["  -a"]


def test_paragraphs_are_wrapped_anew() -> None:
    """Line breaks inside them are of the source, not of the text."""
    assert paragraphs("one two\nthree four\n\nfive", 9) == "one two\nthree\nfour\n\nfive"
