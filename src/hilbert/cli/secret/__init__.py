"""`hilbert secret`: a namespace's secrets, and sealed ones in files."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("secret", "Secrets of a namespace.", ("secrets",)),)

COMMANDS: Final = (
    Command(
        "secret create",
        "secret.commands:create",
        "Create a secret.\n\nThe value is read from standard input unless a flag gives it.",
        (
            "hilbert secret create api-key -n dev < api-key.txt",
            "hilbert secret create tls-cert --from-file cert.pem --replace",
        ),
    ),
    Command(
        "secret list",
        "secret.commands:list_secrets",
        "List the names of secrets.",
        ("hilbert secret list -n dev",),
        ("ls",),
    ),
    Command(
        "secret update",
        "secret.commands:update",
        "Replace a secret's value; functions see it within seconds.",
        ("hilbert secret generate | hilbert secret update api-key",),
        ("u",),
    ),
    Command(
        "secret remove",
        "secret.commands:remove",
        "Remove a secret.",
        ("hilbert secret remove api-key -n dev",),
        ("rm", "delete"),
    ),
    Command(
        "secret apply",
        "secret.commands:apply",
        "Create or update a secret for each file in ./.secrets.",
        ("hilbert secret apply -n dev",),
    ),
    Command(
        "secret generate",
        "secret.commands:generate",
        "Generate a random value.",
        ("hilbert secret generate", "hilbert secret generate --length 64 -o payload.txt"),
        ("gen",),
    ),
    Command(
        "secret keygen",
        "secret.sealed:keygen",
        "Generate a key pair for sealed secrets.",
        ("hilbert secret keygen -o key",),
    ),
    Command(
        "secret seal",
        "secret.sealed:seal",
        "Encrypt values so that only the holder of a private key can read them.",
        ("hilbert secret seal key.pub --from-file npm-token=token.txt",),
    ),
    Command(
        "secret unseal",
        "secret.sealed:unseal",
        "Decrypt sealed values.",
        ("hilbert secret unseal key", "hilbert secret unseal key --key npm-token"),
    ),
)
