"""The tree of commands, as cyclopts runs it. Building it imports none of the commands."""

from __future__ import annotations

from typing import Any, Final

from cyclopts import App, Parameter

from hilbert.cli.commands import NOUNS, Command, all_commands

_PACKAGE: Final = "hilbert.cli"
_PARAMETER: Final = Parameter(negative=(), show_env_var=False)


def build_app() -> App:
    """The whole command line."""
    app = App(
        name="hilbert",
        help_format="plaintext",
        help_formatter="plain",
        version_flags=[],
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        default_parameter=_PARAMETER,
    )
    nouns = {}
    for noun in NOUNS:
        nouns[noun.name] = App(
            name=noun.name, alias=noun.aliases, help=noun.help, help_flags=["--help", "-h"], version_flags=[]
        )
        app.command(nouns[noun.name])
    for command in all_commands():
        *parents, name = command.path.split(" ")
        parent = app
        for depth in range(len(parents)):
            parent = nouns[" ".join(parents[: depth + 1])]
        parent.command(f"{_PACKAGE}.{command.target}", **_options(name, command))
    return app


def _options(name: str, command: Command) -> dict[str, Any]:
    return {
        "name": name,
        "alias": command.aliases,
        "help": command.help,
        "help_epilogue": "Examples:\n\n" + "\n\n".join(f"  {example}" for example in command.examples),
        "show": not command.hidden,
        "help_flags": ["--help", "-h"],
        "version_flags": [],
    }
