"""`hilbert token`, `whoami` and `can-i`: keys of teams and machines, and what one may do."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("token", "Tokens with a role in some namespaces.", ("tokens",)),)

COMMANDS: Final = (
    Command(
        "token create",
        "token.commands:create",
        "Create a token and print it once, on standard output.\n\n"
        "Roles: invoker (call functions), viewer (look), deployer (deploy and remove functions), developer (change secrets, too), "
        "owner (make and revoke tokens, too).\n\n"
        "Clients send it as a bearer token, or as the password of basic authentication with its name as the user.",
        (
            "hilbert token create ci --namespace dev --role deployer --expires 90d",
            "hilbert token create team-a --namespace dev --namespace staging --role owner",
        ),
    ),
    Command(
        "token list",
        "token.commands:list_tokens",
        "List tokens, without the tokens themselves.",
        ("hilbert token list",),
        ("ls",),
    ),
    Command(
        "token revoke",
        "token.commands:revoke",
        "Revoke a token by its name or id, at once.",
        ("hilbert token revoke ci", "hilbert token revoke 3f2a9c0d11e4b567"),
        ("rm", "remove", "delete"),
    ),
    Command(
        "whoami", "token.commands:whoami", "Show who the gateway thinks you are, and your rights.", ("hilbert whoami",)
    ),
    Command(
        "can-i",
        "token.commands:can_i",
        "Say whether you may do something; the exit status is 1 if not.",
        ("hilbert can-i Function:Create dev", "hilbert can-i Function:Delete dev:figlet", "hilbert can-i System:Info"),
    ),
)
