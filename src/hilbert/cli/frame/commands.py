"""Every command, from each folder's own list: what the command line, its help, its completion and its reference page are made of."""

from __future__ import annotations

from typing import Final

from hilbert.cli import (
    audit,
    function,
    gateway,
    iam,
    image,
    namespace,
    password,
    platform,
    queued,
    secret,
    source,
    stack,
    store,
    template,
    token,
)
from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (
    *namespace.NOUNS, *store.NOUNS, *template.NOUNS, *image.NOUNS, *secret.NOUNS, *token.NOUNS, *password.NOUNS, *iam.NOUNS, *audit.NOUNS,
    *queued.NOUNS, *platform.NOUNS,
)  # fmt: skip

_COMPLETION: Final = Command(
    "completion",
    "frame.completion:completion",
    "Print a script that completes commands, flags and names in your shell.",
    ("source <(hilbert completion bash)", "hilbert completion fish | source"),
)

SECTIONS: Final[dict[str, tuple[Command, ...]]] = {
    "Platform": platform.COMMANDS,
    "Gateway": gateway.COMMANDS,
    "Functions": function.COMMANDS,
    "Queued calls and schedules": queued.COMMANDS,
    "From source to function": (*source.COMMANDS, *template.COMMANDS, *image.COMMANDS),
    "Function store": store.COMMANDS,
    "Namespaces": namespace.COMMANDS,
    "Secrets": secret.COMMANDS,
    "Access": (*token.COMMANDS, *iam.COMMANDS, *password.COMMANDS, *audit.COMMANDS),
    "Stack files": stack.COMMANDS,
    "Other": (_COMPLETION,),
}
"""By the titles of the help page."""


def all_commands() -> tuple[Command, ...]:
    """In the order of the help page."""
    return tuple(command for section in SECTIONS.values() for command in section)


def find_noun(word: str) -> Noun | None:
    """By name or alias."""
    return next((noun for noun in NOUNS if word == noun.name or word in noun.aliases), None)
