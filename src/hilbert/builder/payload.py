"""What OpenFaaS's Function Builder is sent: a tar with the build's folder and what to do with it.

`com.openfaas.docker.config` is JSON, `context/` the folder, `com.openfaas.secrets` the sealed build secrets.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from hilbert.builder.build_errors import storage_faults

_CONFIG: Final = "com.openfaas.docker.config"
_SECRETS: Final = "com.openfaas.secrets"
_CONTEXT: Final = "context"


class BuilderConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`com.openfaas.docker.config`."""

    image: str
    """Name under which the image is pushed."""
    build_args: Mapping[str, str] = {}
    platforms: tuple[str, ...] = ()
    skip_push: bool = False


def write_payload(file: IO[bytes], context: Path, config: BuilderConfig, *, sealed: bytes = b"") -> None:
    """Write the tar. The same folder gives the same bytes: no owners, no times. Raises `StorageFull`."""
    with (
        storage_faults(f"packing {context.name}"),
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add(tar, _CONFIG, msgspec.json.encode(config))
        if sealed:
            _add(tar, _SECRETS, sealed)
        for path in (context, *sorted(context.rglob("*"))):
            member = tar.gettarinfo(path, arcname=str(_CONTEXT / path.relative_to(context)))
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = 0
            if stat.S_ISREG(path.lstat().st_mode):
                with path.open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)
        file.flush()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    tar.addfile(member, io.BytesIO(content))


def size_of(file: IO[bytes]) -> int:
    """Bytes of a file that is open."""
    return os.fstat(file.fileno()).st_size
