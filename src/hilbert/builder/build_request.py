"""What is to be built: one function of a stack file, with the flags of the command laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from hilbert.builder.build_errors import InvalidHandler
from hilbert.builder.image_names import check_image
from hilbert.core.errors import Invalid, InvalidStack
from hilbert.core.values import DEFAULT_NAMESPACE, parse_boolean
from hilbert.stack.file import Stack, StackFunction
from hilbert.stack.template import is_inside


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One function to build."""

    name: str
    lang: str
    handler: Path
    """Folder of the handler."""
    image: str
    """Name to store or tag the result under."""
    namespace: str = ""
    """Where a bundle is found under that name; empty: in all namespaces."""
    project: Path
    """The folder that relative paths are in, with `template/` and `build/`."""
    build_args: Mapping[str, str] = {}
    build_options: tuple[str, ...] = ()
    build_secrets: Mapping[str, Path] = {}
    labels: Mapping[str, str] = {}
    """Of the container image."""
    copies: tuple[str, ...] = ()
    """Paths inside the project that the build gets beside the handler."""
    platforms: str = ""


class BuildFlags(msgspec.Struct, frozen=True, kw_only=True):
    """How to build, for all functions of a command."""

    no_cache: bool = False
    skip_tests: bool = False
    pull: bool = False
    """Ask the registry for newer base images."""
    squash: bool = False
    build_args: Mapping[str, str] = {}
    build_options: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    copies: tuple[str, ...] = ()
    platforms: str = ""
    shared: bool = False
    """Bundles are found in every namespace."""
    default_namespace: str = DEFAULT_NAMESPACE
    """Of functions that name none."""


def request_for(name: str, function: StackFunction, stack: Stack, flags: BuildFlags, *, project: Path) -> BuildRequest:
    """The request for one function of a stack. Raises `InvalidStack` and `InvalidHandler`."""
    if not function.lang:
        raise InvalidStack(
            f"function {name} has no lang",
            hint="write 'lang: python3-http', for example, or 'skip_build: true' for an image that exists already",
        )
    if not function.handler:
        raise InvalidStack(f"function {name} has no handler", hint=f"write 'handler: ./{name}', the folder of its code")
    handler = project / function.handler
    if not handler.is_dir():
        raise InvalidHandler(
            f"function {name}: the handler's folder {function.handler} is not there",
            hint=f"make it, or start over with 'hilbert new {name} --lang {function.lang}'",
        )
    copies = tuple(dict.fromkeys((*stack.configuration.copy, *flags.copies)))
    for path in copies:
        if not is_inside(path) or not (project / path).resolve().is_relative_to(project.resolve()):
            raise InvalidStack(
                f"configuration.copy: {path} is not inside the project", hint="name a path below this folder"
            )
        if not (project / path).exists():
            raise InvalidStack(f"configuration.copy: {path} is not there")
    secrets = {key: project / path for key, path in function.build_secrets.items()}
    for key, secret in secrets.items():
        if not key.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise InvalidStack(f"function {name}: build_secrets: {key!r} must be letters, digits, '-', '_' and '.'")
        if not secret.is_file() or "," in str(secret):
            raise InvalidStack(f"function {name}: build_secrets: {key}: no file {secret}")
    return BuildRequest(
        name=name,
        lang=function.lang,
        handler=handler,
        image=check_image(function.image, function=name),
        namespace="" if flags.shared else function.namespace or flags.default_namespace,
        project=project,
        build_args={**function.build_args, **flags.build_args},
        build_options=tuple(dict.fromkeys((*function.build_options, *flags.build_options))),
        build_secrets=secrets,
        labels=flags.labels,
        copies=copies,
        platforms=flags.platforms or function.platforms,
    )


def truthy(arguments: Mapping[str, str], name: str, *, default: bool) -> bool:
    """A build argument as true or false. Raises `InvalidStack` for one that is neither."""
    try:
        return parse_boolean(arguments[name].strip()) if name in arguments else default
    except Invalid as exc:
        raise InvalidStack(f"build argument {name}: {exc.message}") from exc
