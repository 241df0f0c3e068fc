"""`login` and `logout`: credentials for a gateway."""

from __future__ import annotations

import sys
from typing import Annotated

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.gateway import saved_credentials
from hilbert.cli.gateway.target import client_for, resolve
from hilbert.cli.terminal.output import note, out, warn
from hilbert.cli.terminal.progress import progress
from hilbert.client.auth import BasicAuth
from hilbert.core.environment import environment
from hilbert.core.errors import Unauthenticated

Gateway = Annotated[str, flag("URL of the gateway.", "--gateway", "-g")]


def login(
    *,
    username: Annotated[str, flag("User name.", "--username", "-u")] = "admin",
    password: Annotated[
        str, flag("Password; other users can see it, so prefer --password-stdin.", "--password", "-p")
    ] = "",
    password_stdin: Annotated[bool, flag("Read the password from standard input.", "--password-stdin", "-s")] = False,
    timeout: Annotated[str, flag("How long to wait for the gateway's answer.", "--timeout")] = "5s",
    tls_no_verify: Annotated[bool, flag("Do not verify the TLS certificate.", "--tls-no-verify")] = False,
    gateway: Gateway = "",
) -> None:
    environ = environment()
    target = resolve(gateway, environ=environ)
    if password and password_stdin:
        raise UsageError("use either --password or --password-stdin, not both")
    if not username:
        raise UsageError("--username must not be empty")
    if password:
        warn("other users of this machine can see a password in a flag; consider --password-stdin")
    else:
        password = _ask(username, target.url, piped=password_stdin)
    if not password:
        raise UsageError("no password given", hint="type it when asked, or use --password-stdin")
    auth = BasicAuth(username, password)
    note("Calling the OpenFaaS server to validate the credentials...")
    limit = seconds(timeout, "--timeout")
    with client_for(target.url, auth, tls_no_verify=tls_no_verify, timeout=limit) as client, progress("logging in"):
        try:
            client.list_functions()
        except Unauthenticated as exc:
            raise Failed("unable to login, either username or password is incorrect") from exc
    saved_credentials.save_basic(saved_credentials.config_file(environ), target.url, user=username, password=password)
    out(f"credentials saved for {username} {target.url}")


def logout(*, gateway: Gateway = "") -> None:
    environ = environment()
    target = resolve(gateway, environ=environ)
    if not saved_credentials.forget(saved_credentials.config_file(environ), target.url):
        raise Failed(f"no credentials are saved for {target.url}")
    out(f"credentials removed for {target.url}")


def _ask(user: str, url: str, *, piped: bool) -> str:
    if piped:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("no password given", hint="use --password-stdin to read it from standard input")
    import getpass

    return getpass.getpass(f"Password for {user} at {url}: ")
