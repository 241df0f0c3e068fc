"""From source to function: `new`, `build`, `push`, `publish`, `local-run`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command

COMMANDS: Final = (
    Command(
        "new",
        "source.new:new",
        "Create a function: a folder with a handler and an entry in the stack file.\n\n"
        "In an existing stack file, every other line stays as it is.",
        (
            "hilbert new hello --lang python3-http",
            "hilbert new web --lang node22 --prefix registry.example.com/team --memory-limit 128Mi",
            "hilbert new --list",
        ),
    ),
    Command(
        "build",
        "source.build:build",
        "Build the functions of a stack file, as bundles or as container images.\n\nThis machine runs bundles, and images where a template makes no bundle; other providers need images.\n"
        "The gateway's provider decides which; --bundle and --image-build override it.",
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
        "Build container images, for one or more platforms, and push them.\n\n"
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
        "Build one function and run it without a gateway, until Ctrl-C.\n\n"
        "It runs in the same sandbox as on the platform. Secrets are read from ./.secrets.",
        (
            "hilbert local-run",
            "hilbert local-run hello --port 8085 --watch",
            "hilbert local-run hello --env LEVEL=debug",
            "hilbert local-run hello --print",
        ),
    ),
)
