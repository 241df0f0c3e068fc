"""Where an image is asked for, by the settings: mirrors first, then its registry, each with what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hilbert.core.errors import Invalid, InvalidSettings
from hilbert.core.settings import ImageSettings
from hilbert.images.login import login_for
from hilbert.images.model import Credentials, Login
from hilbert.images.reference import Reference


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a repository is really asked for: its registry, or a mirror of it."""

    host: str
    repository: str
    login: Login | None = None
    listed: bool = False
    """An administrator listed it: its address may be any."""
    insecure: bool = False
    """It speaks plain HTTP."""


class Registries:
    """What the settings say of registries. Raises `InvalidSettings`."""

    def __init__(self, settings: ImageSettings, installation: Credentials) -> None:
        """`installation`: logins for every namespace."""
        self._installation = installation
        self._insecure = _hosts("images.insecure_registries", settings.insecure_registries)
        self._listed = self._insecure | _hosts("images.private_registries", settings.private_registries)
        self._listed |= frozenset(installation.logins)
        self._mirrors = _mirrors(settings.mirrors)

    def places(self, reference: Reference, credentials: Credentials | None) -> Sequence[Place]:
        """Where to ask. `credentials` are the namespace's own; they go to the registry itself only, and before ours."""
        found = []
        for prefix in self._mirrors.get(reference.registry, ()):
            host, _, path = prefix.partition("/")
            repository = f"{path}/{reference.repository}" if path else reference.repository
            login = login_for(self._installation, host)
            found.append(
                Place(host=host, repository=repository, login=login, listed=True, insecure=host in self._insecure)
            )
        host = reference.registry
        own = Place(
            host=host,
            repository=reference.repository,
            login=login_for(credentials, host) or login_for(self._installation, host),
            listed=host in self._listed,
            insecure=host in self._insecure,
        )
        return [*found, own]


def _hosts(key: str, text: str) -> frozenset[str]:
    return frozenset(_host(key, part) for part in text.split(",") if part.strip())


def _host(key: str, text: str) -> str:
    text = text.strip()
    try:
        # A part without a dot or a port would be read as the first part of a repository.
        parsed = Reference.parse(f"{text}/x")
    except Invalid as exc:
        raise InvalidSettings(
            f"{key}: {text[:100]!r} is not a registry; write it like registry.example.com:5000"
        ) from exc
    if parsed.repository not in ("x", "library/x"):
        raise InvalidSettings(f"{key}: {text[:100]!r} is not a registry; write it like registry.example.com:5000")
    return parsed.registry


def _mirrors(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        registry, equals, mirror = part.strip().partition("=")
        host, slash, path = mirror.strip().strip("/").partition("/")
        if not equals or not host:
            raise InvalidSettings(
                f"images.mirrors: {part.strip()[:100]!r} is not a mirror", hint="write docker.io=mirror.example.com/hub"
            )
        place = f"{_host('images.mirrors', host)}{slash}{path}"
        found.setdefault(_host("images.mirrors", registry), []).append(place)
    return found
