"""Logins to registries: where they are written, and how a registry asks for them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from hilbert.core.errors import Invalid
from hilbert.images.model import Credentials, Login
from hilbert.images.reference import DOCKER_HUB

MOST_LOGINS: Final = 1 << 20
"""Bytes of a secret or file with logins."""
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class _Entry(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(msgspec.Struct, frozen=True):
    auths: Mapping[str, _Entry] = {}


class Challenge(msgspec.Struct, frozen=True):
    """What a registry asks for: `WWW-Authenticate` of RFC 9110."""

    scheme: str
    """In lower case."""
    parameters: Mapping[str, str]


def parse_docker_config(data: bytes) -> Credentials:
    """The `auths` of docker's `config.json`, which a secret of the type `kubernetes.io/dockerconfigjson` holds as well.

    Raises `Invalid`. Programs that keep logins elsewhere (`credsStore`, `credHelpers`) are not called.
    """
    if len(data) > MOST_LOGINS:
        raise Invalid(f"the logins have more than {MOST_LOGINS} bytes")
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError as exc:
        # The text of the error may quote what it stumbled over, which is a secret.
        raise Invalid("the logins are not JSON in the form of docker's config.json, with 'auths'") from exc
    return Credentials(logins={_registry(server): _login(server, entry) for server, entry in file.auths.items()})


def parse_pull_secret(data: bytes) -> Credentials:
    """What a secret with a login holds: docker's `config.json`, or `USER:PASSWORD@REGISTRY`. Raises `Invalid`.

    The registry must be named: a function's image may come from another one, which must not be shown the password.
    """
    if data.lstrip()[:1] == b"{":
        return parse_docker_config(data)
    login, _, registry = data[:MOST_LOGINS].decode("utf-8", "replace").strip().rpartition("@")
    user, _, password = login.partition(":")
    if not (user and password and registry):
        raise Invalid("the secret holds neither docker's config.json nor USER:PASSWORD@REGISTRY")
    return Credentials(logins={_registry(registry): Login(username=user, password=password)})


def login_for(credentials: Credentials | None, registry: str) -> Login | None:
    """The login for a registry, if there is one."""
    return None if credentials is None else credentials.logins.get(registry)


def parse_challenge(header: str) -> Challenge | None:
    """The first challenge that is known, of those in the header; None where there is none."""
    for match in re.finditer(r"\b(basic|bearer)\b", header[:8192], re.IGNORECASE):
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(header[match.end() : 8192])
        }
        return Challenge(match[1].lower(), parameters)
    return None


def basic(login: Login) -> str:
    """The value of `Authorization`."""
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _registry(server: str) -> str:
    """`https://index.docker.io/v1/` and others alike, as registries are called in images' names."""
    host = re.sub(r"^https?://", "", server).partition("/")[0].lower()
    return DOCKER_HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _login(server: str, entry: _Entry) -> Login:
    username, password = entry.username, entry.password
    if entry.auth:
        try:
            text = base64.b64decode(entry.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise Invalid(f"the login for {server[:100]} is not base64 of USER:PASSWORD") from exc
        username, _, password = text.partition(":")
    return Login(username=username, password=password, identity_token=entry.identitytoken)
