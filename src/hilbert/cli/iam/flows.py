"""The three ways to a token of an identity provider: a browser, a code for another device, a client's own secret."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import secrets
import time
import webbrowser
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from hilbert.cli.frame.failures import Failed
from hilbert.cli.iam.provider import Provider, Refused
from hilbert.cli.terminal.output import harmless, tell

PATH: Final = "/oauth/callback"
WITHIN: Final = 600.0
"""Seconds in which the way through the browser, or the code, must be done."""
_PAGE: Final = "<!doctype html><meta charset=utf-8><title>Hilbert</title><p>{}</p><p>You can close this page.</p>"
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider knows the command line by."""

    id: str
    secret: str = ""
    """Empty for a public client."""
    scope: str = "openid"
    audience: str = ""

    def __repr__(self) -> str:
        return f"Client({self.id!r})"

    def form(self, **more: str) -> dict[str, str]:
        """Fields of a request for a token."""
        return {"client_id": self.id, "client_secret": self.secret, **more}


def by_browser(provider: Provider, client: Client, *, redirect: str, port: int, open_page: bool) -> str:
    """An ID token by authorization code with PKCE (RFC 7636, always S256). Raises `Failed`."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with _Callback(port) as callback:
        where = f"{redirect}:{callback.port}{PATH}"
        query = {
            "response_type": "code",
            "client_id": client.id,
            "redirect_uri": where,
            "scope": client.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        page = provider.endpoint("authorization_endpoint", "sign-in in a browser")
        url = f"{page}{'&' if urlsplit(page).query else '?'}{urlencode(query)}"
        tell(f"Sign in at:\n  {harmless(url)}")
        if open_page:
            with contextlib.suppress(webbrowser.Error):
                webbrowser.open(url)
        found = callback.wait(state, issuer=provider.issuer)
    if "error" in found:
        raise Refused(found["error"], found.get("error_description", ""))
    if not found.get("code"):
        raise Failed("the identity provider sent no code")
    answer = provider.token(
        client.form(grant_type="authorization_code", code=found["code"], redirect_uri=where, code_verifier=verifier)
    )
    token = _text(answer, "id_token")
    if not hmac.compare_digest(str(_claims(token).get("nonce", "")), nonce):
        raise Failed("the identity provider's token is not for this sign-in (nonce)")
    return token


def by_device(provider: Provider, client: Client, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """An ID token by a code that is typed elsewhere (RFC 8628). Raises `Failed`."""
    where = provider.endpoint("device_authorization_endpoint", "sign-in on another device")
    begun = provider.ask(where, client.form(scope=client.scope))
    tell(f"On any device, open {harmless(_text(begun, 'verification_uri'))}")
    tell(f"and type the code  {harmless(_text(begun, 'user_code'))}")
    interval = max(1.0, _seconds(begun, "interval", 5.0))
    end = time.monotonic() + min(WITHIN, _seconds(begun, "expires_in", WITHIN))
    while time.monotonic() < end:
        sleep(interval)
        try:
            return _text(
                provider.token(client.form(grant_type=_DEVICE, device_code=_text(begun, "device_code"))), "id_token"
            )
        except Refused as exc:
            if exc.error == "slow_down":
                interval += 5
            elif exc.error != "authorization_pending":
                raise
    raise Failed("the code was not entered in time", hint="run the command again")


def by_secret(provider: Provider, client: Client) -> str:
    """A token of the client's own (RFC 6749, 4.4): an access token that is a JSON web token. Raises `Failed`."""
    if not client.secret:
        raise Failed(
            "client credentials need a secret", hint="give it in the environment variable OPENFAAS_CLIENT_SECRET"
        )
    scope = "" if client.scope == "openid" else client.scope
    form = client.form(grant_type="client_credentials", scope=scope, audience=client.audience, resource=client.audience)
    answer = provider.token(form)
    return _text(answer, "id_token") if "id_token" in answer else _text(answer, "access_token")


class _Callback:
    """Waits on loopback for the browser to come back."""

    def __init__(self, port: int) -> None:
        self._found: dict[str, str] | None = None
        self._state = ""
        self._issuer = ""
        callback = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                """The provider's answer, as a redirect of the browser (RFC 6749, 4.1.2)."""
                parts = urlsplit(self.path)
                given = {name: values[0] for name, values in parse_qs(parts.query).items() if len(values) == 1}
                good = parts.path == PATH and callback.take(given)
                body = _PAGE.format(
                    "You are signed in." if good else "This is not the sign-in that was started."
                ).encode()
                self.send_response(200 if good else 400)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                """Nothing: the path has the code."""

        try:
            self._server = http.server.HTTPServer(("127.0.0.1", port), Handler)
        except OSError as exc:
            raise Failed(
                f"cannot listen on 127.0.0.1:{port}: {exc.strerror}",
                hint="give another one with --port, if the provider allows it",
            ) from exc
        self.port = self._server.server_address[1]

    def __enter__(self) -> _Callback:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def take(self, given: Mapping[str, str]) -> bool:
        """Whether it is the answer that is waited for: of this sign-in (state) and of this provider (RFC 9207)."""
        if not hmac.compare_digest(given.get("state", "").encode(), self._state.encode()):
            return False
        if given.get("iss", self._issuer) != self._issuer:
            return False
        self._found = dict(given)
        return True

    def wait(self, state: str, *, issuer: str) -> Mapping[str, str]:
        """Raises `Failed` when nobody comes in time."""
        self._state, self._issuer = state, issuer
        end = time.monotonic() + WITHIN
        while self._found is None:
            self._server.timeout = max(0.0, end - time.monotonic())
            if self._server.timeout == 0.0:
                raise Failed("the sign-in was not completed in time", hint="run the command again")
            self._server.handle_request()
        return self._found


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    if not isinstance(found, str) or not found:
        raise Failed(f"the identity provider's answer has no {name}")
    return found


def _seconds(document: Mapping[str, Any], name: str, default: float) -> float:
    found = document.get(name, default)
    return float(found) if isinstance(found, (int, float)) and 0 < found < 86_400 else default


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says. It came from its issuer by TLS, and the gateway checks its signature."""
    try:
        part = token.split(".")[1]
        found = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, msgspec.MsgspecError):
        raise Failed("the identity provider's token is not a JSON web token") from None
    return found if isinstance(found, dict) else {}
