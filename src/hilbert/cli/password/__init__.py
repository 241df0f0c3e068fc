"""`hilbert password`: the administrator's password of the gateway on this machine."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("password", "The administrator's password of this machine's gateway."),)

COMMANDS: Final = (
    Command(
        "password rotate",
        "password.commands:rotate",
        "Make a new password and print it once, on standard output. The old one is refused within a second or two.",
        ("hilbert password rotate", "hilbert password rotate > /dev/null"),
    ),
    Command(
        "password off",
        "password.commands:off",
        "Stop accepting the password. From then on, only tokens and single sign-on open the gateway.\n\n"
        "It needs an owner's token, or a role of your identity provider, so that somebody can still get in.",
        ("hilbert password off",),
    ),
    Command(
        "password on",
        "password.commands:on",
        "Accept the password again. Works on the gateway's machine only, even when nobody can log in any more.",
        ("hilbert password on",),
    ),
)
