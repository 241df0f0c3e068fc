"""`diff`: how what is deployed differs from the stack file."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from hilbert.cli.frame.flags import HERE, NO_FILE, PLAIN, Connection, Namespace, Shape, StackFile, flag
from hilbert.cli.function.name import full_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.source.build_flags import Tag
from hilbert.cli.stack.file import deployments_of, load_stack_file
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, note, out, paint
from hilbert.wire.function import Deployment, Function, ResourceAmounts

Which = Literal["local", "remote", "all"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Of one function; nothing in either list when there is none."""

    name: str
    namespace: str
    deployed: bool
    only_deployed: list[str]
    only_in_file: list[str]


def diff(
    *,
    namespace: Namespace = "",
    env: Annotated[
        Which,
        flag("Environment variables to compare: the file's, the gateway's, or all.", "--env"),
    ] = "all",
    tag: Annotated[Tag, flag("The --tag that the functions were deployed with.", "--tag")] = "latest",
    file: StackFile = NO_FILE,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> int:
    """Exit status 1 when something differs."""
    stack = load_stack_file(file)
    wanted = deployments_of(stack, namespace=namespace, tag=tag)
    found: list[Difference] = []
    with connect(at, stack=stack.provider.gateway) as client:
        there: dict[str, dict[str, Function]] = {}
        for where in {deployment.namespace for deployment in wanted}:
            there[where] = {function.name: function for function in client.list_functions(where)}
    for deployment in wanted:
        function = there[deployment.namespace].get(deployment.service)
        before, after = _sides(function, deployment, env)
        found.append(
            Difference(
                name=deployment.service,
                namespace=deployment.namespace,
                deployed=function is not None,
                only_deployed=[line for line in before if line not in after],
                only_in_file=[line for line in after if line not in before],
            )
        )
        if shape.format == "table":
            _show(before, after, name=full_name(deployment.service, deployment.namespace), source=stack.source)
    differs = any(one.only_deployed or one.only_in_file for one in found)
    if shape.format != "table":
        write_document(found, shape.format)
    elif not differs:
        note("No differences.")
    return 1 if differs else 0


def _show(before: list[str], after: list[str], *, name: str, source: str) -> None:
    for line in difflib.unified_diff(before, after, f"deployed {name}", f"{source} {name}", lineterm="", n=2):
        colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
        out(paint(harmless(line), colour, sys.stdout) if colour else harmless(line))


def _sides(function: Function | None, deployment: Deployment, env: Which) -> tuple[list[str], list[str]]:
    """What is deployed and what is wanted, line by line."""
    if function is None:
        return [], _lines(deployment, deployment.env_vars)
    there = _deployed(function)
    theirs, mine = there.env_vars, deployment.env_vars
    if env == "local":
        theirs = {key: value for key, value in theirs.items() if key in mine}
    elif env == "remote":
        mine = {key: value for key, value in mine.items() if key in theirs}
    return _lines(there, theirs), _lines(deployment, mine)


def _deployed(function: Function) -> Deployment:
    """What would have to be deployed to get what is there. The platform's own label is left out."""
    labels = {key: value for key, value in (function.labels or {}).items() if key not in ("faas_function", "uid")}
    return Deployment(
        service=function.name,
        image=function.image,
        env_process=function.env_process,
        env_vars=function.env_vars or {},
        constraints=function.constraints or (),
        secrets=function.secrets or (),
        labels=labels,
        annotations=function.annotations or {},
        limits=function.limits,
        requests=function.requests,
        read_only_root_filesystem=function.read_only_root_filesystem,
    )


def _lines(deployment: Deployment, environment: Mapping[str, str]) -> list[str]:
    shown = {"image": deployment.image, "fprocess": deployment.env_process}
    shown["readonly_root_filesystem"] = str(deployment.read_only_root_filesystem).lower()
    lines = [f"{key}: {value}" for key, value in shown.items()]
    for title, entries in (
        ("environment", environment),
        ("labels", deployment.labels),
        ("annotations", deployment.annotations),
        ("limits", _amounts(deployment.limits)),
        ("requests", _amounts(deployment.requests)),
    ):
        lines += [f"{title}.{key}: {value}" for key, value in sorted(entries.items())]
    lines += [f"secrets: {name}" for name in sorted(deployment.secrets)]
    return lines + [f"constraints: {text}" for text in deployment.constraints]


def _amounts(amounts: ResourceAmounts | None) -> dict[str, str]:
    found = {} if amounts is None else {"memory": amounts.memory, "cpu": amounts.cpu}
    return {key: value for key, value in found.items() if value}
