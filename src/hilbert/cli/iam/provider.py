"""An identity provider as a client of it sees it: OpenID Connect discovery, and its token endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from hilbert.cli.frame.failures import Failed
from hilbert.client.codec import Request
from hilbert.client.transport import Transport
from hilbert.client.url import is_loopback, parse_url

_MOST: Final = 1024 * 1024
_TIMEOUT: Final = 30.0


class Refused(Failed):
    """The provider's own error (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"the identity provider refused: {description or error}")
        self.error = error


class Provider:
    """One provider, by its discovery document."""

    def __init__(self, document: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ

    @classmethod
    def discover(cls, authority: str, environ: Mapping[str, str]) -> Provider:
        """Raises `Failed`."""
        base = authority.removesuffix("/").removesuffix("/.well-known/openid-configuration")
        status, document = _ask("GET", f"{base}/.well-known/openid-configuration", environ)
        if status != 200:
            raise Failed(f"{base} is not an identity provider: its discovery document answers {status}")
        if str(document.get("issuer", "")).removesuffix("/") != base:
            raise Failed(
                f"the provider at {base} calls itself {document.get('issuer')}", hint="give that URL as --authority"
            )
        return cls(document, environ)

    @property
    def issuer(self) -> str:
        return str(self._document["issuer"])

    def endpoint(self, name: str, what: str) -> str:
        """Raises `Failed` if it has none."""
        found = self._document.get(name)
        if not isinstance(found, str):
            raise Failed(f"the identity provider {self.issuer} does not offer {what}")
        return found

    def ask(self, url: str, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Send a form. Raises `Refused`, and `Failed` for an answer that makes no sense."""
        status, document = _ask("POST", url, self._environ, form)
        if status >= 400 and isinstance(document.get("error"), str):
            raise Refused(document["error"], str(document.get("error_description") or ""))
        if status != 200:
            raise Failed(f"the identity provider answered {status}")
        return document

    def token(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        return self.ask(self.endpoint("token_endpoint", "tokens"), form)


def _ask(
    method: str, url: str, environ: Mapping[str, str], form: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, Any]]:
    parts = urlsplit(url)
    origin = parse_url(f"{parts.scheme}://{parts.netloc}")
    if not origin.secure and not is_loopback(origin):
        raise Failed(f"{url} is not https: what is sent there can be read on the way")
    headers = [("Accept", "application/json")]
    body = b""
    if form is not None:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        body = urlencode({name: value for name, value in form.items() if value}).encode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    transport = Transport(origin, environ=environ, extra=[("User-Agent", "hilbert"), ("Accept-Encoding", "identity")])
    try:
        request = Request(method=method, target=target, headers=tuple(headers), body=body)
        stream = transport.send(request, timeout=_TIMEOUT)
        answer = stream.read(_MOST)
    finally:
        transport.close()
    try:
        document = msgspec.json.decode(answer)
    except (msgspec.MsgspecError, RecursionError):
        document = {}
    return stream.head.status, document if isinstance(document, dict) else {}
