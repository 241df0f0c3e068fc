"""Stack files: which one is meant, `diff`, `generate`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command

COMMANDS: Final = (
    Command(
        "diff",
        "stack.diff:diff",
        "Show the differences between the stack file and what is deployed.\n\nThe exit status is 1 if there are any.",
        ("hilbert diff", "hilbert diff -f stack.yaml -n staging-fn --env local"),
    ),
    Command(
        "generate",
        "stack.generate:generate",
        "Write functions as Kubernetes objects.",
        (
            "hilbert generate -f stack.yaml | kubectl apply -f -",
            "hilbert generate --from-store nodeinfo -n dev",
            "hilbert generate --api serving.knative.dev/v1 | kubectl apply -f -",
        ),
    ),
)
