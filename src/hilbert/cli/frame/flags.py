"""Flags that several commands share, each written once."""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec

Format = Literal["table", "json", "yaml"]


class Flag(NamedTuple):
    """What is said of a flag or word where it is declared."""

    help: str
    names: tuple[str, ...]
    negative: bool
    """Whether `--no-...` exists."""


def flag(help_text: str, /, *names: str, negative: bool = False) -> Flag:
    """A flag or option. `--no-...` exists only where `negative` says so, as with the original's flags."""
    return Flag(help_text, names, negative)


class FlagGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Flags that belong together: a command has those of all fields of each group among its parameters."""


class Connection(FlagGroup, frozen=True, kw_only=True):
    """Where the gateway is and who is asking."""

    gateway: Annotated[str, flag("URL of the gateway.", "--gateway", "-g")] = ""
    token: Annotated[str, flag("Bearer token instead of saved credentials.", "--token", "-k")] = ""
    tls_no_verify: Annotated[bool, flag("Do not verify the TLS certificate.", "--tls-no-verify")] = False


class StackSource(FlagGroup, frozen=True, kw_only=True):
    """A stack file, for commands that take no more than the gateway from it."""

    yaml: Annotated[str, flag("Stack file or its URL; by default stack.yaml or stack.yml.", "--yaml", "-f")] = ""
    envsubst: Annotated[bool, flag("Substitute ${VARIABLES} in the stack file.", "--envsubst", negative=True)] = True


class StackFile(StackSource, frozen=True, kw_only=True):
    """Which functions of a stack file are meant."""

    filter: Annotated[str, flag("Only functions whose name matches this wildcard.", "--filter")] = ""
    regex: Annotated[str, flag("Only functions whose name matches this regular expression.", "--regex")] = ""


class Shape(FlagGroup, frozen=True, kw_only=True):
    """How data is written."""

    output: Annotated[Format, flag("Output format.", "--output", "-o")] = "table"
    json: Annotated[bool, flag("Same as --output json.", "--json", "-j")] = False

    @property
    def format(self) -> Format:
        return "json" if self.json else self.output


HERE: Final = Connection()
NO_FILE: Final = StackFile()
NO_SOURCE: Final = StackSource()
PLAIN: Final = Shape()

Namespace = Annotated[str, flag("Namespace; empty for the gateway's default.", "--namespace", "-n")]
Yes = Annotated[bool, flag("Do not ask for confirmation.", "--yes", "-y")]
Labels = Annotated[tuple[str, ...], flag("Label KEY=VALUE; repeatable.", "--label", "-l")]
Annotations = Annotated[tuple[str, ...], flag("Annotation KEY=VALUE; repeatable.", "--annotation")]
