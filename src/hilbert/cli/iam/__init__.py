"""`hilbert iam` and `hilbert auth`: single sign-on, as who administers it and as who uses it."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("iam", "Issuers, policies and roles: whose tokens are believed, and what they allow."),)

COMMANDS: Final = (
    Command(
        "auth",
        "iam.auth:auth",
        "Sign in with an identity provider, and save the gateway's token for this and OpenFaaS's command line.\n\n"
        "Opens the provider's page in a browser (--grant code), shows a code to type elsewhere (--grant device), or\n"
        "uses a client's own secret (--grant client_credentials). The options are saved: afterwards 'hilbert auth' alone\n"
        "signs in again. A secret is not saved.",
        (
            "hilbert auth --gateway https://functions.example.com --authority https://id.example.com --client-id functions",
            "hilbert auth --grant device",
            'hilbert auth --token "$CI_JOB_TOKEN"',
        ),
    ),
    Command(
        "iam apply",
        "iam.commands:apply",
        "Create or replace issuers, policies and roles from YAML, all of them or none.",
        ("hilbert iam apply -f access.yaml",),
    ),
    Command(
        "iam diff",
        "iam.commands:diff",
        "Show what 'iam apply' would change. The exit status is 1 if something would.",
        ("hilbert iam diff -f access.yaml",),
    ),
    Command(
        "iam get",
        "iam.commands:get",
        "List issuers, policies and roles, or show one as YAML.",
        ("hilbert iam get", "hilbert iam get role", "hilbert iam get role developers"),
    ),
    Command(
        "iam delete",
        "iam.commands:delete",
        "Delete an issuer, a policy or a role. The rights it gave end at once.",
        ("hilbert iam delete role developers",),
    ),
    Command(
        "iam rotate-key",
        "iam.commands:rotate_key",
        "Make a new key for the gateway's tokens. It is published at once and signs 15 minutes later.",
        ("hilbert iam rotate-key", "hilbert iam rotate-key --revoke"),
    ),
)
