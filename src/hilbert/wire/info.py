"""`GET /system/info` on the wire."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class WireVersion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A release and the commit that it was made from. Clients need both to be non-empty."""

    sha: str
    release: str
    commit_message: str = ""


class WireProvider(msgspec.Struct, frozen=True):
    """What runs the functions."""

    provider: str
    version: WireVersion
    orchestration: str


class WireInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """`GatewayInfo`. `hilbert` is ours: facts of this installation, such as its sandbox."""

    arch: str
    provider: WireProvider
    version: WireVersion
    hilbert: Mapping[str, str] = {}
