"""Image names: tags, and the forms of `--tag`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hilbert.builder.build_errors import InvalidHandler
from hilbert.builder.programs import output_of
from hilbert.builder.tree import digest_tree
from hilbert.core.errors import InvalidStack

TagForm = Literal["latest", "sha", "branch", "describe", "digest"]

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{{1,5}})?/|\[[0-9a-fA-F:]+\](?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def check_image(image: str, *, function: str) -> str:
    """`image` if it is the name of an image that can be built. Raises `InvalidStack`."""
    if not image:
        raise InvalidStack(
            f"function {function} has no image to build", hint=f"write 'image: {function}:latest' in the stack file"
        )
    if len(image) > 512 or not _IMAGE.fullmatch(image):
        raise InvalidStack(
            f"function {function}: {image[:120]!r} is not an image's name",
            hint="use a lower-case name such as web:1.0 or registry.example.com/team/web:1.0",
        )
    if "@" in image:
        raise InvalidStack(f"function {function}: an image pinned to a digest cannot be built", hint="use a tag")
    return image


def with_tag(image: str) -> str:
    """`image` with its tag; `latest` if it has none."""
    head, slash, last = image.rpartition("/")
    return image if ":" in last or "@" in last else f"{head}{slash}{last}:latest"


def split_tag(image: str) -> tuple[str, str]:
    """Name and tag; `latest` if it has none."""
    name, _, tag = with_tag(image).rpartition(":")
    return name, tag


def tagged(image: str, form: TagForm, *, handler: Path, project: Path, env: Mapping[str, str]) -> str:
    """`image` with the tag that `--tag` asks for: from git, or from what is in the handler's folder.

    `sha`: TAG-SHORTSHA. `branch`: TAG-BRANCH-SHORTSHA. `describe`: TAG- and `git describe --tags --always`.
    `digest`: a digest of the handler's folder instead of the tag. Raises `InvalidHandler` outside a git repository.
    """
    name, tag = split_tag(image)
    if form == "latest":
        return f"{name}:{tag}"
    if form == "digest":
        if not handler.is_dir():
            raise InvalidHandler(f"--tag digest needs the handler's folder {handler}, which is not there")
        # 32 hex digits, as long as the original's; no security rests on it.
        return f"{name}:{hashlib.sha256(digest_tree(handler).encode()).hexdigest()[:32]}"

    def git(*words: str) -> str:
        said = output_of(["git", "-c", "core.fsmonitor=false", *words], cwd=project, env=env)
        if not said:
            raise InvalidHandler(
                f"--tag {form} needs a git repository with a commit", hint="commit first, or use --tag digest or latest"
            )
        return said

    suffix = git("describe", "--tags", "--always") if form == "describe" else git("rev-parse", "--short", "HEAD")
    if form == "branch":
        suffix = f"{git('rev-parse', '--abbrev-ref', 'HEAD')}-{suffix}"
    return f"{name}:{_as_tag(f'{tag}-{suffix}')}"


def _as_tag(text: str) -> str:
    """Characters that a tag may not have become dashes: branches are called `feature/x`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:128]
