"""Whether a function becomes a bundle or a container image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hilbert.cli.frame.failures import Failed
from hilbert.cli.frame.flags import Connection
from hilbert.cli.gateway.target import find_auth, resolve
from hilbert.cli.source.build_flags import BuildingFlags
from hilbert.core.settings import environment

if TYPE_CHECKING:
    pass


Kind = Literal["bundle", "image"]


_PROCESS: Final = "process"


class Choice(msgspec.Struct, frozen=True):
    """Bundles or images, and why."""

    kind: Kind
    reason: str


def choose(how: BuildingFlags, at: Connection, *, stack_gateway: str) -> Choice:
    """Bundle or image: what flags say, else what the gateway's provider runs. Raises what the gateway's answer raises.

    Where no gateway answers, bundles: they are what the platform of this machine runs.
    """
    if how.bundle or how.image_build:
        kind: Kind = "bundle" if how.bundle else "image"
        return Choice(kind, f"requested with --{'bundle' if how.bundle else 'image-build'}")
    from hilbert.client.faults import GatewayTimeout, GatewayUnreachable
    from hilbert.client.sync import Client
    from hilbert.client.url import is_loopback, parse_url

    environ = environment()
    target = resolve(at.gateway, stack=stack_gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    try:
        with Client(target.url, auth=auth, timeout=5.0, verify=not at.tls_no_verify) as client:
            provider = client.info().provider.orchestration
    except (GatewayUnreachable, GatewayTimeout):
        if not is_loopback(parse_url(target.url)):
            raise
        return Choice("bundle", f"no gateway answers at {target.url}, and the platform on this machine runs bundles")
    if provider != _PROCESS:
        return Choice("image", f"{target.url} runs functions with the provider {provider}")
    if not is_loopback(parse_url(target.url)):
        raise Failed(
            f"the gateway {target.url} runs functions on its own machine, which cannot see what is built here",
            hint="build and deploy on that machine, or use --bundle or --image-build",
        )
    return Choice("bundle", f"{target.url} runs functions as processes")
