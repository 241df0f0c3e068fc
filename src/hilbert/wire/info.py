"""`GET /system/info` on the wire."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class VersionInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A release and the commit that it was made from. Some clients need both to be non-empty."""

    sha: str = ""
    release: str = ""
    commit_message: str = ""


class ProviderInfo(msgspec.Struct, frozen=True):
    """What runs the functions."""

    provider: str = ""
    version: VersionInfo = VersionInfo()
    orchestration: str = ""


class GatewayInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """`GatewayInfo`."""

    arch: str = ""
    provider: ProviderInfo = ProviderInfo()
    version: VersionInfo = VersionInfo()
    hilbert: Mapping[str, str] = {}
    """What Hilbert's gateway adds: facts of the installation, such as its sandbox."""
