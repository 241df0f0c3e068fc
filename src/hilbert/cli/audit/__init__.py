"""`hilbert audit` and `hilbert usage`: what was changed and refused, and what was used."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("audit", "What was changed and refused, by whom."),)

COMMANDS: Final = (
    Command(
        "audit list",
        "audit.commands:list_records",
        "Show what was changed and refused, the newest last.\n\n"
        "An owner of a namespace sees what concerns it; whoever may read the whole log sees everything.",
        (
            "hilbert audit list --namespace dev --since 24h",
            "hilbert audit list --refused --follow",
            "hilbert audit list --action 'Secret:*' --lines 500 --json",
        ),
        ("ls", "show"),
    ),
    Command(
        "audit verify",
        "audit.commands:verify_log",
        "Check that nobody has changed the audit log of this machine: every link, every signature, no gap.\n\n"
        "It prints the number and the hash of the last line. Note them elsewhere, and give them with --noted the next time: "
        "so that not even the end of the log can be cut off unseen. The exit status is 1 if anything is wrong.",
        ("hilbert audit verify", "hilbert audit verify --noted 1041:9f86d081884c7d65"),
    ),
    Command(
        "usage",
        "audit.usage:usage",
        "Show what each namespace has used, by day: calls, seconds, gigabyte-seconds, CPU time, and bytes of bodies.\n\n"
        "Days are in UTC. Gigabyte-seconds are the seconds of calls times the memory limit of the function, as OpenFaaS counts them.",
        ("hilbert usage", "hilbert usage --namespace dev --from 2026-01-01 --to 2026-01-31 --json"),
    ),
)
