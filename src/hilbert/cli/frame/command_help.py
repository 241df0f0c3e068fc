"""The page of one command, from its function's signature: what `--help` shows, the reference prints, the shell completes."""

from __future__ import annotations

import msgspec

from hilbert.cli.frame.command import Command
from hilbert.cli.frame.dispatch import load
from hilbert.cli.frame.signature import MISSING, Parameter, read_signature
from hilbert.cli.terminal.width import hanging, paragraphs, screen_width


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


def page_of(command: Command) -> Page:
    """Imports the command."""
    words: list[Flag] = []
    flags: list[Flag] = []
    for parameter in read_signature(load(command)).parameters:
        (words if parameter.is_word else flags).append(_flag(parameter))
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


def _flag(parameter: Parameter) -> Flag:
    default = parameter.default
    shown = "" if default in (MISSING, None, "", (), False) else "true" if default is True else str(default)
    return Flag(
        names=(*parameter.names, *parameter.denials),
        value="" if parameter.kind is bool or parameter.is_word else _value_name(parameter),
        help=parameter.help,
        default=shown,
        choices=parameter.choices,
        required=parameter.required,
    )


def _value_name(parameter: Parameter) -> str:
    if parameter.choices:
        return "WORD"
    for shape in ("KEY=VALUE", "NAME=PATH"):
        if shape in parameter.help:
            return shape
    return "NUMBER" if parameter.kind is int else "TEXT"


def _shown(word: Flag) -> str:
    return word.names[0] if word.required else f"[{word.names[0]}]"


def _render(flags: tuple[Flag, ...] | list[Flag], width: int) -> list[str]:
    column = min(34, max(len(spell(flag)) for flag in flags) + 4)
    return [
        line for flag in flags for line in hanging(f"  {spell(flag)}", describe_flag(flag), column=column, width=width)
    ]
