"""Which gateway a command talks to, and with which credentials.

The gateway is the first of: `--gateway`; the stack file's `provider.gateway`, if it is not the default; `OPENFAAS_URL`;
the gateway that `hilbert up` started here; `http://127.0.0.1:8080`.
Credentials are the first of: `--token`; a token that is saved in `~/.openfaas/config.yml`; those of the gateway started
here, when it is the one that is called; a password that is saved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from hilbert import __version__
from hilbert.cli.frame.flags import Connection
from hilbert.cli.gateway import saved_credentials
from hilbert.cli.terminal.output import harmless, warn
from hilbert.client import running
from hilbert.client.auth import Auth, TokenAuth
from hilbert.client.sync import Client
from hilbert.client.url import DEFAULT_URL, is_loopback, parse_url
from hilbert.core.environment import environment

DEFAULT_SOURCE: Final = "the default"


class Target(msgspec.Struct, frozen=True):
    """A gateway, and how it was chosen."""

    url: str
    source: str


def resolve(flag: str, *, stack: str = "", environ: Mapping[str, str]) -> Target:
    """The gateway to use. Raises `Invalid` for a URL that is none."""
    if flag:
        return Target(str(parse_url(flag)), "--gateway")
    if stack and (url := str(parse_url(stack))) != DEFAULT_URL:
        return Target(url, "the stack file")
    if named := environ.get("OPENFAAS_URL"):
        return Target(str(parse_url(named)), "OPENFAAS_URL")
    gateway = running.find(environ)
    if gateway is not None and running.is_alive(gateway):
        return Target(gateway.url.rstrip("/"), "the gateway started here")
    return Target(DEFAULT_URL, DEFAULT_SOURCE)


def find_auth(url: str, *, token: str, environ: Mapping[str, str]) -> Auth | None:
    """The credentials for the gateway at `url`. Raises `Failed` when the file with saved ones is broken."""
    if token:
        return TokenAuth(token)
    saved = saved_credentials.load_auth(saved_credentials.config_file(environ), url)
    if isinstance(saved, TokenAuth):
        return saved  # Whoever has signed in wants to be that, also on the gateway's own machine.
    # The gateway's own are right by definition; saved ones for the same address may be an earlier gateway's.
    return running.load_auth(environ, url) or saved


def connect(at: Connection, *, stack: str = "", timeout: float = 60.0) -> Client:
    """A client for the gateway that is meant; warns before credentials go over an open network."""
    environ = environment()
    target = resolve(at.gateway, stack=stack, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    return client_for(target.url, auth, tls_no_verify=at.tls_no_verify, timeout=timeout)


def client_for(url: str, auth: Auth | None, *, tls_no_verify: bool = False, timeout: float = 60.0) -> Client:
    """A client of the command line."""
    origin, environ = parse_url(url), environment()
    if auth is not None and not origin.secure and not is_loopback(origin):
        warn(f"the connection to {url} is not encrypted; consider https")
    return Client(
        url,
        auth=auth,
        timeout=timeout,
        verify=not tls_no_verify,
        user_agent=f"hilbert/{__version__}",
        trace=tracer(environ),
    )


def tracer(environ: Mapping[str, str]) -> Callable[[str], None] | None:
    """What shows every request, if the environment asks for it by one of the original's names."""
    asked = environ.get("FAAS_DEBUG") == "1" or environ.get("OPENFAAS_DUMP_HTTP", "").lower() in ("true", "1")
    return _trace if asked else None


def _trace(text: str) -> None:
    sys.stderr.write(f"{harmless(text)}\n\n")
