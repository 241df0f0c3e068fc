"""What the rest of Hilbert knows of a container image: where its files are, and how it is to be started."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec


class PullPolicy(enum.StrEnum):
    """When the registry is asked, as on Kubernetes."""

    ALWAYS = "Always"
    """Ask which image the name means now; fetch what is not here yet."""
    IF_NOT_PRESENT = "IfNotPresent"
    """Ask only when this namespace has no such image here."""
    NEVER = "Never"
    """Use what is here."""
    AUTO = "auto"
    """As Kubernetes does where nothing is said: `Always` for the tag `latest`, else `IfNotPresent`."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an image is started, by its own configuration. Nothing in it has been checked but the types."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Each `NAME=VALUE`."""
    user: str = ""
    """`name`, `name:group`, `uid` or `uid:gid`; empty: root."""
    working_dir: str = ""
    labels: Mapping[str, str] = {}
    exposed_ports: tuple[str, ...] = ()
    """Each `8080/tcp`."""
    stop_signal: str = ""
    architecture: str = ""
    """As Go names them: `amd64`, `arm64`."""
    os: str = ""


class LocalImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is whole on this machine."""

    name: str
    """As it was asked for."""
    digest: str
    """`sha256:` and 64 hex digits, of the manifest."""
    size: int
    """Bytes on the disk, what it shares with other images included."""
    config: ImageConfig
    root: Path
    """One unpacked tree of the whole image, for reading only: layers merged, whiteouts applied.

    Other images may share its files, so nothing may ever write to them. Mount points exist: `/proc /dev /sys /tmp /run
    /var/openfaas/secrets`, and empty files `/etc/resolv.conf /etc/hosts /etc/hostname`, where the image has none.

    Where root unpacked it, files have the owners that the image gave them (65534 for any so high that a function could run as it) and its modes,
    without setuid and setgid bits. Otherwise everything belongs to the user that unpacked it, who may read and write it all.
    The folders above are closed to other users and must stay so: mount the tree before giving up rights.
    """


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What one registry asks for."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """A refresh token, in place of the password (`identitytoken` of docker's `config.json`)."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Logins by registry, such as `ghcr.io` or `registry.example.com:5000`."""

    logins: Mapping[str, Login] = {}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """How far the fetching of an image has come."""

    phase: str
    """`resolving`, `downloading`, `unpacking` or `done`."""
    done: int = 0
    """Bytes, of all layers together."""
    total: int = 0
    """Bytes; 0 while it is not known."""
    layers: int = 0
    """Layers that are done."""
    all_layers: int = 0

    def text(self) -> str:
        """For people: `downloading, 12 of 107 MiB, 1 of 3 layers`."""
        parts = [self.phase]
        if self.total:
            parts.append(f"{self.done >> 20} of {max(1, self.total >> 20)} MiB")
        if self.all_layers:
            parts.append(f"{self.layers} of {self.all_layers} layer{'s' if self.all_layers != 1 else ''}")
        return ", ".join(parts)


Progress = Callable[[Step], None]
"""Is told how far it has come, not more than some times a second. Must not block or raise."""
