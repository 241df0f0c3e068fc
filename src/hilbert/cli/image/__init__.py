"""`hilbert images`, the bundles and container images of this machine; `registry-login`."""

from __future__ import annotations

from typing import Final

from hilbert.cli.frame.command import Command, Noun

NOUNS: Final = (Noun("images", "The images on this machine: bundles that were built here, and container images."),)

COMMANDS: Final = (
    Command(
        "images list",
        "image.commands:list_images",
        "List the images on this machine.",
        ("hilbert images list", "hilbert images list --output json"),
        ("ls",),
    ),
    Command(
        "images pull",
        "image.containers:pull",
        "Fetch a container image from its registry, or bring it up to date.",
        (
            "hilbert images pull ghcr.io/openfaas/figlet:latest",
            "hilbert images pull registry.example.com/team/web:1.0 --namespace dev",
            "hilbert images pull alpine:3 --shared",
        ),
    ),
    Command(
        "images load",
        "image.containers:load",
        "Read container images from a file: what 'docker save' writes, or an OCI layout.",
        (
            "hilbert images load web.tar --namespace dev",
            "docker save web:1.0 | hilbert images load /dev/stdin",
            "hilbert images load ./layout --name web:1.0 --shared",
        ),
    ),
    Command(
        "images export",
        "image.containers:export",
        "Write a container image to a file, to be loaded elsewhere.",
        ("hilbert images export web:1.0 web.tar",),
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
        "Free the space of removed images that are older than an hour and that no replica uses.",
        ("hilbert images prune", "hilbert images prune --older-than 0s"),
    ),
    Command(
        "registry-login",
        "image.registry_login:registry_login",
        "Write the credentials for a registry to ./credentials/config.json.",
        ("hilbert registry-login --server registry.example.com --username me --password-stdin < password.txt",),
    ),
)
