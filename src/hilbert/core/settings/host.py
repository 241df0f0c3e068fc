"""Settings of functions on this machine: sandbox, limits and images."""

from __future__ import annotations

from typing import Literal

import msgspec

from hilbert.core.values import Duration, Quantity


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The process runtime."""

    sandbox: Literal["auto", "bubblewrap", "landlock", "process"] = "auto"
    """`auto` picks the strongest sandbox that works on this machine. If you name one that does not work, the gateway refuses to start."""
    spares: int = 2
    """Sandboxes that wait ready for the next replica of a bundle, each with a Python interpreter that has not read anything of any function. A replica starts faster in one. As many networks wait for replicas of container images, each with a process that knows nothing of any function. 0 makes none."""
    log_bytes: Quantity = Quantity.parse("4Mi")
    """Maximum size of the log kept for each replica."""
    network_pool: str = "10.213.0.0/16"
    """Addresses of replicas, where Hilbert runs as root: a private IPv4 network (/28 to /16) that nothing else here uses."""


class TenancySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How far namespaces on this machine are kept apart."""

    isolation: Literal["auto", "strict", "single-owner"] = "auto"
    """`strict` starts functions only where every isolation promise holds; `single-owner` takes what this machine offers, for namespaces that trust each other. `auto` is `strict` on a new installation that can keep every promise; an installation keeps what it once had."""


class DefaultLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica on this machine may use if neither its function nor its namespace says otherwise. 0 is no limit."""

    memory: Quantity = Quantity.parse("512Mi")
    """Bytes, all its processes together."""
    cpu: Quantity = Quantity.parse("2")
    """Cores. Below that, replicas share the machine evenly, and give way to the platform."""
    processes: int = 512
    """Processes and threads."""
    open_files: int = 16384
    """Open files of one process."""
    scratch: Quantity = Quantity.parse("256Mi")
    """Bytes in `/tmp`, and half as much each in `/dev/shm` and in the rest, where the sandbox has folders of its own. Elsewhere, bytes in `TMPDIR`: a replica with more is ended."""


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Container images on this machine."""

    pull_policy: Literal["auto", "Always", "IfNotPresent", "Never"] = "auto"
    """When a registry is asked, as on Kubernetes. `auto` asks for `latest` each time a function is deployed, and for other tags when the image is not here. What was built or loaded here is used as it is."""
    credentials: str = ""
    """File with logins to registries, as docker's `config.json` has them under `auths`. They are used for every namespace."""
    mirrors: str = ""
    """Comma-separated registries that are asked first, such as `docker.io=mirror.example.com/hub`."""
    ca_file: str = ""
    """Certificate authorities to trust for registries, in addition to the system's."""
    insecure_registries: str = ""
    """Comma-separated registries (`127.0.0.1:5000`) that speak plain HTTP."""
    private_registries: str = ""
    """Comma-separated registries with addresses on private networks or on this machine. Others are not connected to there, since tenants choose the names of images."""
    max_size: Quantity = Quantity.parse("8Gi")
    """Maximum size of an unpacked image."""
    namespace_size: Quantity = Quantity.parse("32Gi")
    """Maximum size of the images of one namespace. Pulled images that no replica uses make room first, the ones that were used least recently."""
    access_time: Duration = Duration.of(86_400)
    """How long a registry's permission counts for an image that is already here because another namespace pulled it."""
