"""Manifests, indexes and configurations of images, OCI's and Docker's, read from a stranger's bytes.

https://github.com/opencontainers/image-spec and https://distribution.github.io/distribution/spec/manifest-v2-2/.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from hilbert.images.model import ImageConfig
from hilbert.images.tree import Hostile, shown

T = TypeVar("T")

MOST_DOCUMENT: Final = 4 << 20
"""Bytes of a manifest, an index or a configuration; registries take no larger manifest."""
MOST_LAYERS: Final = 256
"""Docker makes 127 at most."""
_MOST_PLATFORMS: Final = 1000

INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_CONFIGS: Final = (OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar(?:\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(?:diff|foreign\.diff)\.tar(?:\.gzip|\.zstd)?)"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "armv6l": ("arm", "v6"),
    "i686": ("386", ""), "ppc64le": ("ppc64le", ""), "s390x": ("s390x", ""), "riscv64": ("riscv64", ""),
}  # fmt: skip


class WrongPlatform(Exception):
    """The image is for other machines. The message is public."""


class NoImage(Exception):
    """It is something else than an image that can be run. The message is public."""


class Platform(msgspec.Struct, frozen=True):
    """What a manifest of an index is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a document says of another blob."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] | None = None


class Index(msgspec.Struct, frozen=True):
    """Manifests for several platforms, or all that an archive holds."""

    manifests: tuple[Descriptor, ...]


class Manifest(msgspec.Struct, frozen=True):
    """One image: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


class Document(msgspec.Struct, frozen=True):
    """An image's configuration, as far as it is used."""

    config: ImageConfig
    layers: tuple[str, ...]
    """Digests of the unpacked layers."""


class _Execution(msgspec.Struct, frozen=True, rename="pascal"):
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    user: str | None = None
    working_dir: str | None = None
    labels: Mapping[str, str] | None = None
    exposed_ports: Mapping[str, object] | None = None
    stop_signal: str | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] | None = None


class _Raw(msgspec.Struct, frozen=True):
    rootfs: _RootFs
    architecture: str = ""
    os: str = ""
    config: _Execution | None = None


class _Kind(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: object = None
    config: object = None


def this_platform() -> Platform:
    """Of this machine."""
    machine = platform.machine()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform(architecture, "linux", variant)


def read_manifest(data: bytes) -> Index | Manifest:
    """Raises `Hostile` and `NoImage`."""
    kind = _decode(data, _Kind, "manifest")
    if kind.schema_version == 1:
        raise NoImage("it is stored in a format that was abandoned in 2017; push it again with a newer program")
    if kind.manifests is not None:
        index = _decode(data, Index, "index")
        if len(index.manifests) > _MOST_PLATFORMS:
            raise Hostile(f"its index names more than {_MOST_PLATFORMS} manifests")
        for one in index.manifests:
            _check(one, most=MOST_DOCUMENT)
        return index
    if kind.config is None:
        raise NoImage("its manifest names no configuration")
    manifest = _decode(data, Manifest, "manifest")
    if manifest.config.media_type not in _CONFIGS:
        raise NoImage(f"it is not a container image but {shown(manifest.config.media_type)}")
    _check(manifest.config, most=MOST_DOCUMENT)
    if len(manifest.layers) > MOST_LAYERS:
        raise Hostile(f"it has more than {MOST_LAYERS} layers")
    for layer in manifest.layers:
        if not _LAYER.fullmatch(layer.media_type):
            raise NoImage(f"one of its layers is {shown(layer.media_type)}, which cannot be unpacked here")
        _check(layer, most=1 << 62)
    return manifest


def read_config(data: bytes) -> Document:
    """Raises `Hostile`."""
    raw = _decode(data, _Raw, "configuration")
    layers = raw.rootfs.diff_ids or ()
    if not all(DIGEST.fullmatch(layer) for layer in layers):
        raise Hostile("its configuration names layers by something other than sha256")
    given = raw.config or _Execution()
    config = ImageConfig(
        entrypoint=given.entrypoint or (),
        cmd=given.cmd or (),
        env=given.env or (),
        user=given.user or "",
        working_dir=given.working_dir or "",
        labels=given.labels or {},
        exposed_ports=tuple(given.exposed_ports or ()),
        stop_signal=given.stop_signal or "",
        architecture=raw.architecture,
        os=raw.os,
    )
    return Document(config, layers)


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The manifest for a platform. Raises `WrongPlatform`."""
    fitting = [
        one
        for one in index.manifests
        if one.platform is None or (one.platform.os, one.platform.architecture) == (wanted.os, wanted.architecture)
    ]
    if not fitting:
        offered = sorted(
            {str(one.platform) for one in index.manifests if one.platform and one.platform.os != "unknown"}
        )
        raise WrongPlatform(
            f"it is for {', '.join(offered[:12]) or 'no platform at all'}, and this machine is {wanted}"
        )
    # An image for the very variant; else one for all; else the oldest, which newer machines run as well.
    return min(fitting, key=lambda one: _distance(one.platform, wanted))


def check_platform(config: ImageConfig, wanted: Platform) -> None:
    """Raises `WrongPlatform`."""
    if (config.os or "linux") != wanted.os or (config.architecture or wanted.architecture) != wanted.architecture:
        raise WrongPlatform(f"it is for {shown(f'{config.os}/{config.architecture}')}, and this machine is {wanted}")


def _distance(offered: Platform | None, wanted: Platform) -> tuple[int, str]:
    if offered is None or offered.variant == wanted.variant:
        return 0, ""
    return (1, "") if not offered.variant else (2, offered.variant)


def _check(descriptor: Descriptor, *, most: int) -> None:
    if not DIGEST.fullmatch(descriptor.digest):
        raise Hostile(f"it names a part by {shown(descriptor.digest)}, which is not a sha256")
    if not 0 <= descriptor.size <= most:
        raise Hostile(f"it says that a part of it has {descriptor.size} bytes")


def _decode(data: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Hostile(f"its {what} cannot be read: {exc}") from exc
