"""The help page of `hilbert` itself, written from the list of commands alone, since it must be there at once."""

from __future__ import annotations

from hilbert import __version__
from hilbert.cli.commands import NOUNS, SECTIONS


def render_overview() -> str:
    """All commands with a sentence each."""
    lines = [f"Hilbert {__version__}: functions in many namespaces, behind one gateway.", "", "Usage: hilbert COMMAND"]
    width = max(len(command.path) for section in SECTIONS.values() for command in section)
    for title, commands in SECTIONS.items():
        shown = [command for command in commands if not command.hidden]
        if shown:
            lines += ["", f"{title}:"]
            lines += [f"  {command.path:<{width}}  {command.help.partition(chr(10))[0]}" for command in shown]
    short = ", ".join(f"{alias} for {noun.name}" for noun in NOUNS for alias in noun.aliases)
    return "\n".join(
        [
            *lines,
            "",
            "'hilbert COMMAND --help' shows flags and examples of a command.",
            f"Short names: {short}, ls for list, rm for remove.",
            "",
        ]
    )
