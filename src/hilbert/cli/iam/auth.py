"""`auth`: sign in with an identity provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import flag
from hilbert.cli.gateway import saved_credentials
from hilbert.cli.gateway.target import client_for, resolve
from hilbert.cli.iam import flows
from hilbert.cli.iam.provider import Provider
from hilbert.cli.terminal.output import out, tell
from hilbert.core.environment import environment

Grant = Literal["code", "device", "client_credentials"]


def auth(
    *,
    gateway: Annotated[str, flag("URL of the gateway.", "--gateway", "-g")] = "",
    authority: Annotated[str, flag("URL of the identity provider.", "--authority")] = "",
    client_id: Annotated[str, flag("Name by which the provider knows this client.", "--client-id")] = "",
    client_secret: Annotated[
        str,
        flag("Its secret; other users can see it, so prefer the variable OPENFAAS_CLIENT_SECRET.", "--client-secret"),
    ] = "",
    grant: Annotated[Grant, flag("How to sign in.", "--grant")] = "code",
    scope: Annotated[str, flag("Scopes to ask the provider for, separated by spaces.", "--scope")] = "openid",
    audience: Annotated[str, flag("Audience of the provider's token, with client_credentials.", "--audience")] = "",
    redirect_host: Annotated[
        str, flag("How the browser reaches this machine: http://127.0.0.1 or http://localhost.", "--redirect-host")
    ] = "http://127.0.0.1",
    port: Annotated[int, flag("Port that the browser comes back to; 0 for any.", "--port")] = 31111,
    token: Annotated[str, flag("A token of the provider or CI system that you have already.", "--token")] = "",
    exchange: Annotated[
        bool, flag("Exchange the provider's token for one of the gateway.", "--exchange", negative=True)
    ] = True,
    browser: Annotated[bool, flag("Open the browser.", "--browser", negative=True)] = True,
    print_token: Annotated[
        bool, flag("Print the token on standard output, and save nothing.", "--print-token")
    ] = False,
    tls_no_verify: Annotated[bool, flag("Do not verify the gateway's TLS certificate.", "--tls-no-verify")] = False,
) -> None:
    environ = environment()
    url = resolve(gateway, environ=environ).url
    path = saved_credentials.config_file(environ)
    known = saved_credentials.load_options(path, url)
    if redirect_host not in ("http://127.0.0.1", "http://localhost"):
        raise UsageError("--redirect-host must be http://127.0.0.1 or http://localhost")
    options = {
        "authority": authority or known.get("authority", ""),
        "client_id": client_id or known.get("client_id", ""),
        "scope": scope if scope != "openid" else known.get("scope", scope),
        "audience": audience or known.get("audience", ""),
    }
    if not token:
        secret = client_secret or environ.get("OPENFAAS_CLIENT_SECRET", "")
        found = _sign_in(options, secret, grant, redirect_host, port, environ, browser=browser)
    else:
        found = token
    ends = ""
    if exchange:
        with client_for(url, None, tls_no_verify=tls_no_verify, timeout=30.0) as client:
            answer = client.exchange_token(found)
        found, ends = answer.access_token, f", for {_span(answer.expires_in)}"
    if print_token:
        out(found)
        return
    saved_credentials.save_token(
        path, url, token=found, options={key: value for key, value in options.items() if value}
    )
    tell(f"Signed in to {url}{ends}. The token is in {path}.")


def _sign_in(
    options: Mapping[str, str],
    secret: str,
    grant: Grant,
    redirect: str,
    port: int,
    environ: Mapping[str, str],
    *,
    browser: bool,
) -> str:
    """A token of the provider."""
    if not options["authority"] or not options["client_id"]:
        raise UsageError(
            "which identity provider? Give --authority and --client-id once; they are remembered",
            hint="hilbert auth --authority https://id.example.com --client-id functions",
        )
    provider = Provider.discover(options["authority"], environ)
    client = flows.Client(id=options["client_id"], secret=secret, scope=options["scope"], audience=options["audience"])
    match grant:
        case "code":
            return flows.by_browser(provider, client, redirect=redirect, port=port, open_page=browser)
        case "device":
            return flows.by_device(provider, client)
        case "client_credentials":
            return flows.by_secret(provider, client)
    raise Failed(f"unknown grant {grant}")


def _span(seconds: int) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
