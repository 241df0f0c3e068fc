"""`store`: functions that are ready to be deployed."""

from __future__ import annotations

import textwrap
from typing import Annotated

from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape, flag
from hilbert.cli.function.deploy import CAREFULLY, RolloutFlags, deploy_one
from hilbert.cli.function.specification import UNSAID, Specification, over
from hilbert.cli.store.catalogue import load_catalogue, on_platform, pick, platform_name, to_json
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out
from hilbert.core.environment import environment
from hilbert.stack.function_store import StoreFunction
from hilbert.wire.function import Deployment

Url = Annotated[str, flag("Catalogue (URL or file); by default, OPENFAAS_STORE or the built-in one.", "--url", "-u")]
Platform = Annotated[str, flag("Platform: x86_64, arm64 or armhf; by default, this machine's.", "--platform", "-p")]


def list_store(
    *,
    url: Url = "",
    platform: Platform = "",
    verbose: Annotated[bool, flag("Also show images.", "--verbose", "-v")] = False,
    shape: Shape = PLAIN,
) -> None:
    on = platform_name(platform)
    found = on_platform(load_catalogue(url, environment()), on)
    if shape.format != "table":
        write_document([to_json(function) for function in found], shape.format)
        return
    rows = [("FUNCTION", "AUTHOR", "DESCRIPTION", "IMAGE")]
    rows += [(function.name, function.author, function.title, function.images[on]) for function in found]
    for line in columns(rows if verbose else [row[:3] for row in rows]):
        out(harmless(line))


def inspect(name: str, /, *, url: Url = "", platform: Platform = "", shape: Shape = PLAIN) -> None:
    on = platform_name(platform)
    function = pick(load_catalogue(url, environment()), name, on=on)
    if shape.format != "table":
        write_document(to_json(function), shape.format)
        return
    _show(function, on)


def deploy(
    name: str,
    /,
    *,
    rename: Annotated[str, flag("Another name for the deployed function.", "--name")] = "",
    namespace: Namespace = "",
    url: Url = "",
    platform: Platform = "",
    said: Specification = UNSAID,
    rollout: RolloutFlags = CAREFULLY,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    on = platform_name(platform)
    entry = pick(load_catalogue(url, environment()), name, on=on)
    base = Deployment(
        service=rename or entry.name,
        image=entry.images[on],
        namespace=namespace,
        env_process=entry.process,
        env_vars=dict(entry.env),
        read_only_root_filesystem=entry.read_only_root,
        labels=dict(entry.labels),
        annotations=dict(entry.annotations),
    )
    deploy_one(over(base, said), at=at, rollout=rollout, shape=shape)


def _show(function: StoreFunction, on: str) -> None:
    lines = [
        ("Title:", function.title),
        ("Author:", function.author),
        ("Description:", textwrap.fill(function.description, 80, subsequent_indent=" " * 14)),
        ("Image:", function.images[on]),
        ("Process:", function.process),
        ("Repo URL:", function.repo_url),
    ]
    for title, entries in (
        ("Environment:", function.env),
        ("Labels:", function.labels),
        ("Annotations:", function.annotations),
    ):
        lines.append((title, f"\n{' ' * 14}".join(f"{key}: {value}" for key, value in sorted(entries.items()))))
    for title, text in lines:
        if text:
            out(harmless(f"{title:<13} {text}"))
