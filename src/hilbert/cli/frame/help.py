"""Help: of `hilbert` itself and of its nouns, from the list of commands alone; of a command, from its page."""

from __future__ import annotations

from collections.abc import Sequence

from hilbert import __version__
from hilbert.cli.frame.command import Command, Noun
from hilbert.cli.frame.commands import NOUNS, SECTIONS, all_commands, find_noun
from hilbert.cli.terminal.width import hanging, screen_width, wrap


def render_help(words: Sequence[str]) -> str | None:
    """Help for what the leading words name; None when they name nothing."""
    if not words:
        return render_overview()
    noun = find_noun(" ".join(words))
    if noun is not None:
        return render_noun(noun)
    from hilbert.cli.frame.command_help import page_of, render_page
    from hilbert.cli.frame.spellings import find_command

    command = find_command(list(words))
    return render_page(page_of(command)) if command is not None else None


def render_noun(noun: Noun) -> str:
    """The commands of a noun with a sentence each."""
    commands = [command for command in all_commands() if command.path.startswith(f"{noun.name} ")]
    lines = [*wrap(noun.help, screen_width()), "", f"Usage: hilbert {noun.name} COMMAND", ""]
    lines += _listed(commands, max(len(command.path) for command in commands))
    return "\n".join(
        [*lines, "", *wrap(f"Run 'hilbert {noun.name} COMMAND --help' for flags and examples.", screen_width()), ""]
    )


def _listed(commands: Sequence[Command], longest: int) -> list[str]:
    """A command a line, with its sentence beside it."""
    width = screen_width()
    return [
        line
        for command in commands
        for line in hanging(f"  {command.path}", first_line(command.help), column=longest + 4, width=width)
    ]


def first_line(text: str) -> str:
    """Its first line."""
    return text.partition("\n")[0]


def render_overview() -> str:
    """All commands with a sentence each."""
    title = f"Hilbert {__version__}: functions in many namespaces, behind one gateway."
    lines = [*wrap(title, screen_width()), "", "Usage: hilbert COMMAND"]
    width = max(len(command.path) for section in SECTIONS.values() for command in section)
    for title, commands in SECTIONS.items():
        shown = [command for command in commands if not command.hidden]
        if shown:
            lines += ["", f"{title}:"]
            lines += _listed(shown, width)
    short = ", ".join(f"{alias} for {noun.name}" for noun in NOUNS for alias in noun.aliases)
    return "\n".join(
        [
            *lines,
            "",
            *wrap("Run 'hilbert COMMAND --help' for the flags and examples of a command.", screen_width()),
            *wrap(f"Short names: {short}, ls for list, rm for remove.", screen_width()),
            "",
        ]
    )
