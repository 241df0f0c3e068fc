"""`hilbert namespace`: tenants."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("namespace", "Create, inspect and delete namespaces.", ("ns",)),)

COMMANDS: Final = (
    Command(
        "namespaces",
        "namespace.commands:list_names",
        "List namespaces; short for 'namespace list'.",
        ("hilbert namespaces",),
    ),
    Command(
        "limits",
        "namespace.limits:limits",
        "Show the limits on the calls of a namespace and of its functions, and how they are used.",
        ("hilbert limits -n dev", "hilbert limits -n dev -o json"),
    ),
    Command(
        "namespace list", "namespace.commands:list_names", "List namespaces.", ("hilbert namespace list",), ("ls",)
    ),
    Command(
        "namespace create",
        "namespace.commands:create",
        "Create a namespace.",
        ("hilbert namespace create dev", "hilbert namespace create dev --annotation tenant=acme"),
    ),
    Command("namespace get", "namespace.commands:get", "Show a namespace.", ("hilbert namespace get dev",)),
    Command(
        "namespace update",
        "namespace.commands:update",
        "Replace the labels and annotations of a namespace.",
        ("hilbert namespace update dev --label tier=gold",),
    ),
    Command(
        "namespace delete",
        "namespace.commands:delete",
        "Delete a namespace and everything in it.\n\n"
        "At a terminal, it asks for confirmation. "
        "On Kubernetes, a namespace with objects that the platform did not create is only deleted with --force.",
        ("hilbert namespace delete staging-fn", "hilbert namespace delete staging-fn --force"),
        ("remove", "rm"),
    ),
)
