"""Which gateway is called and with which credentials: `login`, `logout`, `version`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command

COMMANDS: Final = (
    Command(
        "login",
        "gateway.login:login",
        "Check and save credentials for a gateway.",
        (
            "hilbert login --gateway https://functions.example.com --password-stdin < password.txt",
            "hilbert login --username admin",
        ),
    ),
    Command(
        "logout",
        "gateway.login:logout",
        "Forget the credentials for a gateway.",
        ("hilbert logout --gateway https://functions.example.com",),
    ),
    Command(
        "version",
        "gateway.version:version",
        "Show the versions of the command line, the gateway and the provider.",
        ("hilbert version", "hilbert version --short-version"),
    ),
)
