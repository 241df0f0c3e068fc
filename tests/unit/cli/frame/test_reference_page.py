"""The reference page of the command line."""

from __future__ import annotations

from pathlib import Path

from hilbert.cli.frame.commands import all_commands
from hilbert.cli.frame.reference_page import render

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "cli.md"


def test_the_page_is_in_step_with_the_commands() -> None:
    """`make docs` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_the_page_has_every_command_with_its_flags_and_examples() -> None:
    """Nothing is left to be guessed."""
    text = render()
    for command in all_commands():
        section = text.partition(f"### hilbert {command.path}\n")[2].partition("\n### ")[0]
        assert command.help.partition("\n")[0] in section
        assert all(example in section for example in command.examples)
        assert "Usage: `hilbert " in section
