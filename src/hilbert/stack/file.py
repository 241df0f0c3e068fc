"""Stack files (`stack.yaml`), as OpenFaaS's command line reads them: functions, how to build and how to deploy them.

Reading keeps text as it was written (`wire.yamltext`) after `${VARIABLES}` were substituted (`wire.envsubst`).
`docs/reference/stack.md` and the JSON Schema are made from the structs here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import HilbertError, InvalidStack
from hilbert.core.values import parse_function_name
from hilbert.stack.document import read_document
from hilbert.stack.envsubst import substitute
from hilbert.stack.yamltext import Map, decode, parse, write_yaml

DEFAULT_FILES: Final = ("stack.yaml", "stack.yml")
"""Looked for in the working folder, in this order."""


class Amounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Memory and processor time of one replica."""

    memory: str = ""
    """Bytes, e.g. `128Mi`."""
    cpu: str = ""
    """Cores, e.g. `100m` or `0.5`."""


class StackFunction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One function."""

    lang: str = ""
    """Template to build with, e.g. `python3-http`; `NAME@VERSION` pins it. `dockerfile` builds the handler's own."""
    handler: str = ""
    """Folder of the handler; with `lang: dockerfile`, of the Dockerfile."""
    image: str = ""
    """Image to build and deploy, e.g. `registry.example.com/team/hello:1.0`. Without a tag, `latest`."""
    fprocess: str = ""
    """Command of the function; empty: the template's."""
    environment: Mapping[str, str] = {}
    """Environment variables. Numbers and words such as `yes` stay the text that is written."""
    environment_file: tuple[str, ...] = ()
    """YAML files with a map `environment`, laid over `environment`, later ones winning."""
    secrets: tuple[str, ...] = ()
    """Secrets of the namespace that the function may read."""
    skip_build: bool = False
    """Deploy only; the image is there."""
    constraints: tuple[str, ...] = ()
    """`KEY=VALUE` of nodes to run on, where the provider has nodes."""
    labels: Mapping[str, str] = {}
    """Labels in Kubernetes' syntax, e.g. `com.openfaas.scale.min: 2`."""
    annotations: Mapping[str, str] = {}
    """Annotations, e.g. `schedule: "*/5 * * * *"`."""
    limits: Amounts | None = None
    """Most that a replica may use."""
    requests: Amounts | None = None
    """What a replica is promised."""
    readonly_root_filesystem: bool = False
    """Let the function write to `/tmp` only."""
    build_options: tuple[str, ...] = ()
    """Names of package sets that the template offers."""
    build_args: Mapping[str, str] = {}
    """Arguments of the build, e.g. `PYTHON_VERSION: "3.12"`."""
    build_secrets: Mapping[str, str] = {}
    """Files that an image build may read and that stay out of the image: name to path."""
    platforms: str = ""
    """Platforms to publish for, e.g. `linux/amd64,linux/arm64`."""
    namespace: str = ""
    """Namespace; empty: the gateway's default."""


class Provider(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where to deploy."""

    name: str = ""
    """`openfaas`; nothing else is valid."""
    gateway: str = ""
    """URL of the gateway, e.g. `http://127.0.0.1:8080`."""


class TemplateSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A template to pull when a function needs it."""

    name: str = ""
    """Template, e.g. `python3-http`."""
    source: str = ""
    """Git URL or local folder, `#VERSION` at its end pins it; empty: what the template store says."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all functions of the file share."""

    templates: tuple[TemplateSource, ...] = ()
    """Templates to pull when they are missing."""
    copy: tuple[str, ...] = ()
    """Paths inside the project that every build gets beside its handler."""


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a stack file says."""

    version: str = ""
    """Version of the format; `1.0` or nothing."""
    provider: Provider = Provider()
    """Where to deploy."""
    functions: Mapping[str, StackFunction] = {}
    """Functions by name. A name is a DNS label."""
    configuration: Configuration = Configuration()
    """What all functions of the file share."""


class Stack(Document, frozen=True, kw_only=True):
    """A stack file that was read, with what may be said of it."""

    source: str = ""
    """The file or URL."""
    warnings: tuple[str, ...] = ()
    """Keys that have no effect, each as `FILE:LINE: KEY ...`."""


def find_stack(folder: Path | None = None) -> str:
    """The name of the default stack file that is there; empty: there is none."""
    return next((name for name in DEFAULT_FILES if ((folder or Path()) / name).is_file()), "")


def load_stack(
    source: str,
    *,
    envsubst: bool = True,
    regex: str | None = None,
    filter: str | None = None,  # noqa: A002 - the name of the flag
    environ: Mapping[str, str],
) -> Stack:
    """Read a stack file from a path or an http(s) URL; an empty `source` means the default file of this folder.

    `filter` (with `*`) or `regex` (found anywhere in the name) keeps some functions. Raises `InvalidStack`.
    """
    name = source or find_stack()
    if not name:
        raise InvalidStack(
            "there is no stack.yaml or stack.yml in this folder",
            hint="name one with -f, or make one with 'hilbert new NAME --lang python3-http'",
        )
    try:
        text = read_document(name)
    except InvalidStack as exc:
        hint = "name another with -f, or make one with 'hilbert new NAME --lang python3-http'"
        raise InvalidStack(exc.message, hint=exc.hint or hint) from exc
    if envsubst:
        text = substitute(text, environ, name=name)
    return select(parse_stack(text, name=name), regex=regex or "", wildcard=filter or "")


def parse_stack(text: str, *, name: str = "stack.yaml") -> Stack:
    """The stack in `text`, nothing substituted. Raises `InvalidStack`."""
    node = parse(text, name=name)
    warnings: list[str] = []
    document = decode(node, Document, name=name, warnings=warnings)
    lines = node.items["functions"] if isinstance(node, Map) and "functions" in node.items else node
    _check(document, name, lines.lines if isinstance(lines, Map) else {})
    return Stack(
        version=document.version,
        provider=document.provider,
        functions=document.functions,
        configuration=document.configuration,
        source=name,
        warnings=tuple(warnings),
    )


def select(stack: Stack, *, regex: str, wildcard: str) -> Stack:
    """`stack` with the functions that match. Raises `InvalidStack` when none does."""
    if regex and wildcard:
        raise InvalidStack("pass in a regex or a filter, not both")
    if not regex and not wildcard:
        return stack
    try:
        matches = (
            re.compile(regex).search
            if regex
            else re.compile(".*".join(re.escape(part) for part in wildcard.split("*"))).fullmatch
        )
    except re.error as exc:
        raise InvalidStack(
            f"--regex {regex}: {exc}", hint="it is a regular expression; for wildcards use --filter"
        ) from exc
    kept = {name: function for name, function in stack.functions.items() if matches(name)}
    if not kept:
        raise InvalidStack(
            "no functions matching --filter/--regex were found in the YAML file",
            hint=f"its functions are {', '.join(stack.functions)}" if stack.functions else "it has no functions",
        )
    return msgspec.structs.replace(stack, functions=kept)


def dump_stack(stack: Document) -> str:
    """`stack` as YAML that reads back as the same, without substitution."""
    tree = msgspec.to_builtins(stack)
    tree.pop("source", None)
    tree.pop("warnings", None)
    tree = {key: tree[key] for key in ("version", "provider", "functions", "configuration") if key in tree}
    return write_yaml(tree)


def read_environment(function: StackFunction, *, folder: Path | None = None) -> dict[str, str]:
    """`environment` with the files of `environment_file` over it. Paths are relative to `folder`, by default this one.

    Raises `InvalidStack`.
    """
    merged = dict(function.environment)
    for path in function.environment_file:
        name = str((folder or Path()) / path)
        content = decode(parse(read_document(name), name=name), _EnvironmentFile, name=name, warnings=[])
        merged.update(content.environment)
    return merged


class _EnvironmentFile(msgspec.Struct, frozen=True):
    environment: Mapping[str, str] = {}


def _check(document: Document, name: str, lines: Mapping[str, int]) -> None:
    if document.version not in ("", "1.0"):
        raise InvalidStack(
            f"{name}: version: only '1.0' is valid, not {document.version[:40]!r}", hint='write version: "1.0"'
        )
    if document.provider.name not in ("", "openfaas"):
        raise InvalidStack(
            f"{name}: provider.name: only 'openfaas' is valid, not {document.provider.name[:40]!r}",
            hint="write name: openfaas below provider",
        )
    for function in document.functions:
        try:
            parse_function_name(function)
        except HilbertError as exc:
            raise InvalidStack(
                f"{name}:{lines.get(function, 1)}: functions: {function[:80]!r} is not a name for a function",
                hint="use at most 63 of a-z, 0-9 and '-', a letter or digit at both ends",
            ) from exc
