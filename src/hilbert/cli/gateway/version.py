"""`version`: of the command line, the gateway and the provider."""

from __future__ import annotations

from typing import Annotated

import msgspec

from hilbert import __version__
from hilbert.cli.frame.flags import HERE, NO_SOURCE, PLAIN, Connection, Shape, StackSource, flag
from hilbert.cli.gateway.target import connect
from hilbert.cli.stack.file import gateway_of
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, out, warn
from hilbert.core.errors import HilbertError
from hilbert.wire.info import GatewayInfo


def version(
    *,
    short: Annotated[bool, flag("Print only the version of the command line.", "--short-version")] = False,
    warn_update: Annotated[  # noqa: ARG001
        bool, flag("Accepted and ignored: Hilbert does not look for updates.", "--warn-update")
    ] = True,
    file: StackSource = NO_SOURCE,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if short:
        out(__version__)
        return
    info: GatewayInfo | None = None
    with connect(at, stack=gateway_of(file), timeout=5.0) as client:
        url = client.url
        try:
            info = client.info()
        except HilbertError as exc:
            warn(harmless(exc.message))
    if shape.format != "table":
        write_document(_document(url, info), shape.format)
        return
    lines = ["CLI:", f"  version: {__version__}"]
    if info is not None:
        lines += [
            "",
            "Gateway",
            f" uri:     {url}",
            f" version: {info.version.release}",
            f" sha:     {info.version.sha}",
            "",
            "Provider",
            f" name:          {info.provider.provider}",
            f" orchestration: {info.provider.orchestration}",
            f" version:       {info.provider.version.release}",
            f" sha:           {info.provider.version.sha}",
        ]
    out(harmless("\n".join(lines)))


def _document(url: str, info: GatewayInfo | None) -> dict[str, object]:
    document: dict[str, object] = {"cli": {"version": __version__}}
    if info is not None:
        version, provider = msgspec.to_builtins(info.version), msgspec.to_builtins(info.provider)
        document["gateway"] = {"uri": url, "version": version["release"], "sha": version["sha"]}
        document["provider"] = {
            "name": provider["provider"],
            "orchestration": provider["orchestration"],
            "version": provider["version"]["release"],
            "sha": provider["version"]["sha"],
        }
    return document
