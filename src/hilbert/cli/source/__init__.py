"""From source to function: `new`, `build`, `push`, `publish`, `local-run`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command

COMMANDS: Final = (
    Command(
        "new",
        "source.new:new",
        "Begin a function: a folder with a handler, and an entry in the stack file.\n\n"
        "A stack file that is there gets one function more; every other line of it stays as it is.",
        (
            "hilbert new hello --lang python3-http",
            "hilbert new web --lang node22 --prefix registry.example.com/team --memory-limit 128Mi",
            "hilbert new --list",
        ),
    ),
    Command(
        "build",
        "source.build:build",
        "Build a stack file's functions: bundles for the process runtime, container images for other providers.\n\n"
        "Which of the two follows from the gateway's provider; --bundle and --image-build decide it.",
        (
            "hilbert build",
            "hilbert build --filter 'web-*' --parallel 4 --build-arg ALLOW_BUILD_SCRIPTS=true",
            "hilbert build --image-build --tag sha --builder buildah",
            "hilbert build --shrinkwrap",
        ),
    ),
    Command(
        "push",
        "source.push:push",
        "Push the container images of a stack file.",
        ("hilbert push", "hilbert push --tag sha --parallel 4"),
    ),
    Command(
        "publish",
        "source.publish:publish",
        "Build container images, for several platforms if wanted, and push them.\n\n"
        "With --remote-builder, an OpenFaaS Function Builder does both.",
        (
            "hilbert publish --platforms linux/amd64,linux/arm64",
            "hilbert publish --tag describe --extra-tag latest",
            "hilbert publish --remote-builder http://127.0.0.1:8081 --payload-secret payload.txt",
        ),
    ),
    Command(
        "local-run",
        "source.local_run:local_run",
        "Build one function and run it here, without a gateway, until Ctrl-C.\n\n"
        "It runs as the platform of this machine would run it, in the same sandbox. Secrets are read from ./.secrets.",
        (
            "hilbert local-run",
            "hilbert local-run hello --port 8085 --watch",
            "hilbert local-run hello --env LEVEL=debug",
            "hilbert local-run hello --print",
        ),
    ),
)
