"""`hilbert images`, the image store of this machine; `registry-login`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("images", "The images on this machine that were built for the process runtime."),)

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
        "Remove images from the list; 'images prune' then frees their space.",
        ("hilbert images remove hello:latest",),
        ("rm",),
    ),
    Command(
        "images prune",
        "image.commands:prune",
        "Free the space of removed images that are older than an hour.",
        ("hilbert images prune", "hilbert images prune --older-than 0s"),
    ),
    Command(
        "registry-login",
        "image.registry_login:registry_login",
        "Write the credentials for a registry to ./credentials/config.json.",
        ("hilbert registry-login --server registry.example.com --username me --password-stdin < password.txt",),
    ),
)
