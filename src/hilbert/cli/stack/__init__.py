"""Stack files: which one is meant, `diff`, `generate`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command

COMMANDS: Final = (
    Command(
        "diff",
        "stack.diff:diff",
        "Show how what is deployed differs from the stack file.\n\nExit status 1 if something differs.",
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
