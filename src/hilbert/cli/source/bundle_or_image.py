"""Whether a function becomes a bundle or a container image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hilbert.cli.frame.failures import Failed
from hilbert.cli.frame.flags import Connection
from hilbert.cli.gateway.target import find_auth, resolve
from hilbert.cli.source.build_flags import BuildingFlags
from hilbert.core.environment import environment
from hilbert.core.errors import HilbertError

if TYPE_CHECKING:
    pass


Kind = Literal["bundle", "image"]


_PROCESS: Final = "process"
_ASKED: Final = "requested with --image-build"


class Choice(msgspec.Struct, frozen=True):
    """Bundles or images, and why."""

    kind: Kind
    reason: str
    here: bool = False
    """This machine runs them: images go straight into its store, and what cannot become a bundle becomes an image."""


def choose(how: BuildingFlags, at: Connection, *, stack_gateway: str) -> Choice:
    """Bundle or image: what flags say, else what the gateway's provider runs. Raises what the gateway's answer raises.

    Where no gateway answers, bundles: they are what the platform of this machine runs.
    """
    if how.bundle:
        return Choice("bundle", "requested with --bundle")
    from hilbert.client.faults import GatewayTimeout, GatewayUnreachable
    from hilbert.client.sync import Client
    from hilbert.client.url import is_loopback, parse_url

    asked = how.image_build
    environ = environment()
    target = resolve(at.gateway, stack=stack_gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    try:
        with Client(target.url, auth=auth, timeout=5.0, verify=not at.tls_no_verify) as client:
            provider = client.info().provider.orchestration
    except HilbertError as exc:
        if asked:  # Whatever keeps the gateway from answering, an image can be built.
            return Choice("image", _ASKED)
        if not isinstance(exc, (GatewayUnreachable, GatewayTimeout)):
            raise
        if not is_loopback(parse_url(target.url)):
            raise
        why = f"no gateway answers at {target.url}, and the platform on this machine runs bundles"
        return Choice("bundle", why, here=True)
    here = provider == _PROCESS and is_loopback(parse_url(target.url))
    if asked:
        return Choice("image", _ASKED, here=here)
    if provider != _PROCESS:
        return Choice("image", f"{target.url} runs functions with the provider {provider}")
    if not here:
        raise Failed(
            f"the gateway {target.url} runs functions on its own machine, which cannot see what is built here",
            hint="build and deploy on that machine, or use --bundle or --image-build",
        )
    return Choice("bundle", f"{target.url} runs functions as processes", here=True)
