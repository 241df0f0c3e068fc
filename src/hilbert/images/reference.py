"""Names of images, as Docker and everyone after it reads them.

    [REGISTRY/]REPOSITORY[:TAG][@sha256:DIGEST]

The first part is a registry if it has a dot or a port, or is `localhost`; else the registry is Docker's, where one-part
repositories belong to `library/`. No tag means `latest`. The grammar is that of
https://github.com/distribution/reference and https://github.com/opencontainers/distribution-spec.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from hilbert.core.errors import InvalidSpec

DOCKER_HUB: Final = "docker.io"
LONGEST: Final = 512
"""Characters."""
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
    r"(?::[0-9]{1,5})?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Reference(msgspec.Struct, frozen=True):
    """The name of an image, taken apart."""

    registry: str
    repository: str
    tag: str
    """Empty where only the digest was given."""
    digest: str
    """Empty where none was given; else it decides, and the tag only tells people what it was."""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises `InvalidSpec`."""
        if len(text) > LONGEST:
            raise InvalidSpec(f"an image's name may have {LONGEST} characters, not {len(text)}")
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _wrong(text, "after '@' it needs sha256: and 64 hex digits")
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _wrong(text, "after ':' it needs a tag of at most 128 letters, digits, dots, dashes and underscores")
        path = f"{head}{slash}{last}"
        first, slash, others = path.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, repository = first, others
        else:
            registry, repository = DOCKER_HUB, path
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = DOCKER_HUB
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        if not _REGISTRY.fullmatch(registry):
            raise _wrong(text, f"{registry[:100]!r} is not a registry's name")
        if not _REPOSITORY.fullmatch(repository):
            raise _wrong(
                text, "names are lower-case letters and digits, with single dots, dashes or underscores between them"
            )
        return cls(registry.lower(), repository, tag if tag or digest else "latest", digest)

    @property
    def place(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def full(self) -> str:
        """The one spelling under which the store keeps it."""
        return f"{self.place}@{self.digest}" if self.digest else f"{self.place}:{self.tag}"

    def at(self, digest: str) -> str:
        """The full name of the image with this digest in the same place."""
        return f"{self.place}@{digest}"


def familiar(full: str) -> str:
    """A full name as people write it: without the registry that is implied."""
    return full.removeprefix(f"{DOCKER_HUB}/library/").removeprefix(f"{DOCKER_HUB}/")


def _wrong(text: str, why: str) -> InvalidSpec:
    return InvalidSpec(
        f"{text[:120]!r} is not an image's name: {why}", hint="write it like registry.example.com/team/web:1.0"
    )
