"""`hilbert store`: functions that are ready to be deployed."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("store", "Ready-made functions."),)

COMMANDS: Final = (
    Command(
        "store list",
        "store.commands:list_store",
        "List the functions of the store.",
        ("hilbert store list", "hilbert store list --output json"),
        ("ls",),
    ),
    Command(
        "store inspect",
        "store.commands:inspect",
        "Show a function of the store.",
        ("hilbert store inspect figlet",),
        ("describe",),
    ),
    Command(
        "store deploy",
        "store.commands:deploy",
        "Deploy a function of the store.",
        ("hilbert store deploy figlet", "hilbert store deploy nodeinfo --namespace dev --name info"),
    ),
)
