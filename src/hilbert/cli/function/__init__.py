"""Functions on a gateway: deployed, called, listed, scaled, removed."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command

COMMANDS: Final = (
    Command(
        "deploy",
        "function.deploy:deploy",
        "Deploy functions from a stack file or from flags.\n\n"
        "A function that already exists is updated. Returns once the functions are ready, or says why they are not.",
        (
            "hilbert deploy -f stack.yaml",
            "hilbert deploy -f stack.yaml --namespace staging-fn --filter 'web-*'",
            "hilbert deploy --image functions/alpine:latest --name stronghash --fprocess sha512sum",
        ),
    ),
    Command(
        "invoke",
        "function.invoke:invoke",
        "Call a function with standard input as the body.\n\n"
        "The answer's body goes to standard output as it arrives. Redirects are followed. A function that requires a token\n"
        "from the gateway's identity service gets one, if a token for the gateway is saved or given.",
        (
            "echo Hilbert | hilbert invoke figlet",
            "hilbert invoke env --namespace dev --method GET --query verbose=1 < /dev/null",
            "hilbert invoke report --async --wait < data.csv",
            "hilbert invoke resize --async -H 'X-Callback-Url: http://example.com/done' < photo.jpg",
            'hilbert invoke github --sign X-Hub-Signature-256 --key "$SECRET" < event.json',
        ),
    ),
    Command(
        "list",
        "function.list:list_functions",
        "List the functions of a namespace, or of all namespaces.",
        ("hilbert list", "hilbert list -A", "hilbert list -n dev -v --sort invocations", "hilbert list -q"),
        ("ls",),
    ),
    Command(
        "describe",
        "function.describe:describe",
        "Show the state, configuration and URLs of a function.",
        ("hilbert describe figlet", "hilbert describe nodeinfo -n dev --output yaml"),
    ),
    Command(
        "remove",
        "function.remove:remove",
        "Remove a function, or all functions of a stack file.\n\n"
        "At a terminal, removing all functions of a stack file asks for confirmation.",
        ("hilbert remove figlet", "hilbert remove nodeinfo -n dev", "hilbert remove -f stack.yaml"),
        ("rm", "delete"),
    ),
    Command(
        "scale",
        "function.scale:scale",
        "Set the number of a function's replicas; 0 stops it until its next call.",
        ("hilbert scale figlet 3", "hilbert scale nodeinfo 0 -n dev"),
    ),
    Command(
        "scaling",
        "function.scaling:scaling",
        "Show how a function scales by load and to zero, and why it has as many replicas as it has.",
        ("hilbert scaling figlet", "hilbert scaling nodeinfo -n dev --watch"),
    ),
    Command(
        "restart",
        "function.restart:restart",
        "Replace the replicas of a function with new ones, one at a time. No call is lost.\n\n"
        "Afterwards, a function that reads its secrets when it starts has their current values.",
        ("hilbert restart figlet", "hilbert restart nodeinfo -n dev --no-wait"),
    ),
    Command(
        "logs",
        "function.logs:logs",
        "Show and follow the log of a function.",
        ("hilbert logs figlet", "hilbert logs figlet --tail=false --since 10m", "hilbert logs figlet -o json"),
    ),
    Command(
        "ready",
        "function.ready:ready",
        "Wait until the gateway or a function is ready.",
        ("hilbert ready", "hilbert ready figlet -n dev --attempts 10 --interval 500ms"),
    ),
)
