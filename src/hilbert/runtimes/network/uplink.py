"""As an ordinary user: a program that carries a replica's packets out through sockets of this user's (slirp4netns, pasta)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PROGRAMS: Final = ("slirp4netns", "pasta")
"""From the one that is taken first."""


def command(program: str, path: str, *, network: int, owner: int) -> Sequence[str]:
    """The command line for the network namespace and its owner on these descriptors."""
    network_path, owner_path = f"/proc/self/fd/{network}", f"/proc/self/fd/{owner}"
    if program == "slirp4netns":
        # Not --enable-sandbox: it needs group 0 in the owner, and bubblewrap maps one id only.
        flags = ["--configure", "--mtu=65520", "--disable-host-loopback", "--disable-dns", "--enable-seccomp"]
        return [path, *flags, "--netns-type=path", f"--userns-path={owner_path}", network_path, "tap0"]
    closed = ["--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none"]
    flags = ["--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-map-gw", *closed]
    return [path, *flags, "--userns", owner_path, "--netns", network_path]
