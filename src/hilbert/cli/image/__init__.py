"""`hilbert images`, the image store of this machine; `registry-login`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("images", "The image store of this machine: what was built for the process runtime."),)

COMMANDS: Final = (
    Command(
        "images list",
        "image.commands:list_images",
        "List the images that were built on this machine.",
        ("hilbert images list", "hilbert images list --output json"),
        ("ls",),
    ),
    Command(
        "images remove",
        "image.commands:remove",
        "Forget images; 'images prune' then frees their space.",
        ("hilbert images remove hello:latest",),
        ("rm",),
    ),
    Command(
        "images prune",
        "image.commands:prune",
        "Remove what no image needs any more, if it is older than an hour.",
        ("hilbert images prune", "hilbert images prune --older-than 0s"),
    ),
    Command(
        "registry-login",
        "image.registry_login:registry_login",
        "Write a registry's credentials to ./credentials/config.json.",
        ("hilbert registry-login --server registry.example.com --username me --password-stdin < password.txt",),
    ),
)
