"""The tree of commands, as cyclopts runs it. Building it imports none of the commands."""

from __future__ import annotations

from typing import Final

from cyclopts import App, Parameter

from hilbert.cli.frame.commands import NOUNS, all_commands

_PACKAGE: Final = "hilbert.cli"
_PARAMETER: Final = Parameter(negative=())


def build_app() -> App:
    """The whole command line."""
    app = App(
        name="hilbert",
        help_flags=[],
        version_flags=[],
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        default_parameter=_PARAMETER,
    )
    nouns = {}
    for noun in NOUNS:
        parent_name, _, own_name = noun.name.rpartition(" ")
        nouns[noun.name] = App(name=own_name, alias=noun.aliases, help_flags=[], version_flags=[])
        (nouns[parent_name] if parent_name else app).command(nouns[noun.name])
    for command in all_commands():
        *parents, name = command.path.split(" ")
        parent = app
        for depth in range(len(parents)):
            parent = nouns[" ".join(parents[: depth + 1])]
        parent.command(
            f"{_PACKAGE}.{command.target}", name=name, alias=command.aliases, help_flags=[], version_flags=[]
        )
    return app
