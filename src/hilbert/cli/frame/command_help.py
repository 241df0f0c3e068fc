"""The page of one command, from its function's signature: what `--help` shows, the reference prints, the shell completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hilbert.cli.frame.command import Command
from hilbert.cli.terminal.width import hanging, paragraphs, screen_width

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import Argument


class Flag(msgspec.Struct, frozen=True):
    """One flag or positional word."""

    names: tuple[str, ...]
    value: str
    """What follows it; empty for a flag that stands alone."""
    help: str
    default: str
    choices: tuple[str, ...]
    required: bool


class Page(msgspec.Struct, frozen=True):
    """Everything that there is to say of a command."""

    command: Command
    usage: str
    words: tuple[Flag, ...]
    flags: tuple[Flag, ...]


def page_of(app: App, command: Command) -> Page:
    """Imports the command."""
    node = app
    for word in command.path.split(" "):
        node = node[word]
    words: list[Flag] = []
    flags: list[Flag] = []
    for argument in node.assemble_argument_collection(parse_docstring=False):
        if argument.show:
            (words if argument.index is not None else flags).append(_flag(argument))
    usage = " ".join(["hilbert", command.path, *(_shown(word) for word in words), *(["[FLAGS]"] if flags else [])])
    return Page(command=command, usage=usage, words=tuple(words), flags=tuple(flags))


def render_page(page: Page) -> str:
    """As text for a terminal."""
    width = screen_width()
    lines = [paragraphs(page.command.help, width), "", f"Usage: {page.usage}", "", "Examples:"]
    lines += [f"  {example}" for example in page.command.examples]
    if page.command.aliases:
        lines += ["", f"Aliases: {', '.join(page.command.aliases)}"]
    described = [word for word in page.words if word.help]
    if described:
        lines += ["", "Arguments:", *_render(described, width)]
    if page.flags:
        lines += ["", "Flags:", *_render(page.flags, width)]
    return "\n".join(lines) + "\n"


def describe_flag(flag: Flag) -> str:
    """Its help with choices and default."""
    parts = [flag.help]
    if flag.choices:
        parts.append(f"One of {', '.join(flag.choices)}.")
    if flag.default:
        parts.append(f"Default {flag.default}.")
    return " ".join(part for part in parts if part)


def spell(flag: Flag) -> str:
    """Its names, short ones first, and what follows: `-n, --namespace TEXT`."""
    names = sorted(flag.names, key=lambda name: (name.startswith("--"), name.startswith("--no-")))
    return ", ".join(names) + (f" {flag.value}" if flag.value else "")


def _flag(argument: Argument) -> Flag:
    default = argument.field_info.default
    standing = argument.hint is bool
    choices = tuple(argument.get_choices() or ())
    if default is argument.field_info.empty or default is None or default in ("", (), False):
        shown = ""
    else:
        shown = "true" if default is True else str(default)
    return Flag(
        names=tuple(argument.names),
        value="" if standing or argument.index is not None else _value_name(argument, choices),
        help=argument.parameter.help or "",
        default=shown,
        choices=choices,
        required=argument.required,
    )


def _value_name(argument: Argument, choices: tuple[str, ...]) -> str:
    if choices:
        return "WORD"
    text = argument.parameter.help or ""
    for shape in ("KEY=VALUE", "NAME=PATH"):
        if shape in text:
            return shape
    return "NUMBER" if "int" in str(argument.hint) else "TEXT"


def _shown(word: Flag) -> str:
    return word.names[0] if word.required else f"[{word.names[0]}]"


def _render(flags: tuple[Flag, ...] | list[Flag], width: int) -> list[str]:
    column = min(34, max(len(spell(flag)) for flag in flags) + 4)
    return [
        line for flag in flags for line in hanging(f"  {spell(flag)}", describe_flag(flag), column=column, width=width)
    ]
