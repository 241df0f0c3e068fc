"""Templates on disk and in a store: `template.yml`, `meta.json` and the store's catalogue.

`template.yml` is OpenFaaS's, with three keys of ours: `bundle` says how to build without a container engine, `watchdog`
that the image build needs Hilbert's watchdog beside the Dockerfile, `extends` which shipped template this one is made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath

import msgspec

from hilbert.core.bundle import Mode
from hilbert.core.errors import InvalidStack
from hilbert.stack.yamltext import decode, parse


class BuildOption(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of packages of the base image's distribution."""

    name: str = ""
    packages: tuple[str, ...] = ()


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a template becomes a bundle. Paths are relative to the template."""

    mode: str = ""
    """A `hilbert.core.bundle.Mode`."""
    process: str = ""
    """Default of `fprocess`; with mode `python`, not needed."""
    handler: str = ""
    """Mode `python`: the file that the watchdog loads."""
    code: str = ""
    """The Python file with the user's `handle`; empty: `handler`."""
    takes: tuple[str, ...] = ("event", "context")
    """What `handle` is called with."""
    environment: Mapping[str, str] = {}
    """Defaults under the function's own environment."""
    requirements: tuple[str, ...] = ()
    """Files of requirements for pip; those that are missing are passed over."""
    packages: str = ""
    """`package.json` for npm; passed over if it is missing."""
    check: str = ""
    """Command that finds mistakes before anything runs; words, no shell."""
    test: str = ""
    """Command that runs the handler's tests; words, no shell."""
    tests: tuple[str, ...] = ()
    """Patterns of files in the handler's folder without which there is nothing to test."""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """`template.yml`."""

    language: str = ""
    fprocess: str = ""
    build_options: tuple[BuildOption, ...] = ()
    welcome_message: str = ""
    extends: str = ""
    """A shipped template whose files, and whose settings beside the name, hold where this one has none of its own."""
    handler_folder: str = "function"
    """Where in the build the user's handler goes."""
    mount_ssh: bool = False
    """Let the image build use the SSH agent."""
    bundle: Recipe | None = None
    watchdog: bool = False
    """The image build finds Hilbert's watchdog in its context, at `watchdog/`."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`meta.json`: where a pulled template came from."""

    repository: str
    written_at: datetime
    ref_name: str = ""
    sha: str = ""


class StoreTemplate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One template of a template store."""

    template: str
    platform: str = ""
    language: str = ""
    source: str = ""
    description: str = ""
    repo: str = ""
    official: str = "false"
    """`true` or `false`, as text."""
    recommended: bool = False


def parse_template(text: str, *, name: str) -> Template:
    """`template.yml` in `text`. Raises `InvalidStack`, naming the file `name`."""
    template = decode(parse(text, name=name), Template, name=name, warnings=[])
    folder = template.handler_folder or "function"
    if not is_inside(folder):
        raise InvalidStack(f"{name}: handler_folder: {folder!r} must be a folder inside the template")
    recipe = template.bundle
    if recipe is not None:
        if recipe.mode not in set(Mode):
            raise InvalidStack(f"{name}: bundle.mode: must be one of {', '.join(Mode)}, not {recipe.mode!r}")
        for path in (recipe.handler, recipe.code, *recipe.requirements, recipe.packages):
            if path and not is_inside(path):
                raise InvalidStack(f"{name}: bundle: {path!r} must be a path inside the template")
    return msgspec.structs.replace(template, handler_folder=folder)


def is_inside(path: str) -> bool:
    """Whether a relative path, as written, stays in its folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path
