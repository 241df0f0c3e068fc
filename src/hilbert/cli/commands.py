"""Every command: where it is, what it is for, and examples of its use.

The one list from which the command line, its help, its completion and its reference page are made. A command's function
is named by import path and imported when the command runs.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command, e.g. `namespace create`."""

    path: str
    """Words as they are typed."""
    target: str
    """`MODULE:FUNCTION` below `hilbert.cli`."""
    help: str
    """First line: a sentence for lists. More may follow."""
    examples: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    """Other last words."""
    hidden: bool = False


class Noun(NamedTuple):
    """A group of commands, e.g. `namespace`."""

    name: str
    help: str
    aliases: tuple[str, ...] = ()


NOUNS: Final = (
    Noun("namespace", "Create, inspect and remove namespaces.", ("ns",)),
    Noun("store", "Functions that are ready to be deployed."),
    Noun("secret", "Secrets of a namespace.", ("secrets",)),
    Noun("config", "The platform's settings on this machine."),
)

SECTIONS: Final[dict[str, tuple[Command, ...]]] = {
    "Platform on this machine": (),
    "Functions": (
        Command(
            "deploy",
            "deploy:deploy",
            "Deploy functions from a stack file or from flags.\n\n"
            "A function that is there is updated. Returns when the functions are ready, or says why they are not.",
            (
                "hilbert deploy -f stack.yaml",
                "hilbert deploy -f stack.yaml --namespace staging-fn --filter 'web-*'",
                "hilbert deploy --image functions/alpine:latest --name stronghash --fprocess sha512sum",
            ),
        ),
        Command(
            "invoke",
            "invoke:invoke",
            "Call a function with standard input as the body.\n\n"
            "The answer's body goes to standard output as it comes.",
            (
                "echo Hilbert | hilbert invoke figlet",
                "hilbert invoke env --namespace dev --method GET --query verbose=1 < /dev/null",
                "hilbert invoke resize --async -H 'X-Callback-Url: http://example.com/done' < photo.jpg",
            ),
        ),
        Command(
            "list",
            "functions:list_functions",
            "List the functions of a namespace, or of all.",
            ("hilbert list", "hilbert list -A", "hilbert list -n dev -v --sort invocations", "hilbert list -q"),
            ("ls",),
        ),
        Command(
            "describe",
            "functions:describe",
            "Show a function with its state, configuration and URLs.",
            ("hilbert describe figlet", "hilbert describe nodeinfo -n dev --output yaml"),
        ),
        Command(
            "remove",
            "functions:remove",
            "Remove a function, or all functions of a stack file.",
            ("hilbert remove figlet", "hilbert remove nodeinfo -n dev", "hilbert remove -f stack.yaml"),
            ("rm", "delete"),
        ),
        Command(
            "scale",
            "functions:scale",
            "Set the number of a function's replicas; 0 stops it until its next call.",
            ("hilbert scale figlet 3", "hilbert scale nodeinfo 0 -n dev"),
        ),
        Command(
            "logs",
            "logs:logs",
            "Show what a function writes, as it comes.",
            ("hilbert logs figlet", "hilbert logs figlet --tail=false --since 10m", "hilbert logs figlet -o json"),
        ),
        Command(
            "ready",
            "ready:ready",
            "Wait until the gateway, or a function, is ready.",
            ("hilbert ready", "hilbert ready figlet -n dev --attempts 10 --interval 500ms"),
        ),
    ),
    "Function store": (
        Command(
            "store list",
            "store:list_store",
            "List the functions of the store.",
            ("hilbert store list", "hilbert store list --output json"),
            ("ls",),
        ),
        Command(
            "store inspect",
            "store:inspect",
            "Show a function of the store.",
            ("hilbert store inspect figlet",),
            ("describe",),
        ),
        Command(
            "store deploy",
            "store:deploy",
            "Deploy a function of the store.",
            ("hilbert store deploy figlet", "hilbert store deploy nodeinfo --namespace dev --name info"),
        ),
    ),
    "Namespaces": (
        Command(
            "namespaces",
            "namespace:list_names",
            "List namespaces; short for 'namespace list'.",
            ("hilbert namespaces",),
        ),
        Command("namespace list", "namespace:list_names", "List namespaces.", ("hilbert namespace list",), ("ls",)),
        Command(
            "namespace create",
            "namespace:create",
            "Create a namespace.",
            ("hilbert namespace create dev", "hilbert namespace create dev --annotation tenant=acme"),
        ),
        Command("namespace get", "namespace:get", "Show a namespace.", ("hilbert namespace get dev",)),
        Command(
            "namespace update",
            "namespace:update",
            "Replace the labels and annotations of a namespace.",
            ("hilbert namespace update dev --label tier=gold",),
        ),
        Command(
            "namespace delete",
            "namespace:delete",
            "Remove a namespace with everything in it.",
            ("hilbert namespace delete staging-fn",),
            ("remove", "rm"),
        ),
    ),
}


def all_commands() -> tuple[Command, ...]:
    """In the order of the help page."""
    return tuple(command for section in SECTIONS.values() for command in section)
