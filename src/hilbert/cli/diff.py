"""`diff`: how what is deployed differs from the stack file."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

from hilbert.cli.options import HERE, NO_FILE, Connection, Namespace, StackFile, flag
from hilbert.cli.stackfile import deployments_of, load
from hilbert.cli.target import connect
from hilbert.cli.terminal import harmless, note, out, paint
from hilbert.cli.values import full_name
from hilbert.client.types import Deployment, Function, ResourceAmounts

Which = Literal["local", "remote", "all"]


def diff(
    *,
    namespace: Namespace = "",
    env: Annotated[
        Which,
        flag("Environment variables to compare: those of the file, of the gateway, or all.", "--env"),
    ] = "all",
    file: StackFile = NO_FILE,
    at: Connection = HERE,
) -> int:
    """Exit status 1 when something differs."""
    stack = load(file)
    wanted = deployments_of(stack, namespace=namespace)
    differs = False
    with connect(at, stack=stack.provider.gateway) as client:
        there: dict[str, dict[str, Function]] = {}
        for where in {deployment.namespace for deployment in wanted}:
            there[where] = {function.name: function for function in client.list_functions(where)}
    for deployment in wanted:
        function = there[deployment.namespace].get(deployment.service)
        name = full_name(deployment.service, deployment.namespace)
        before = [] if function is None else _lines(_deployed(function), env, deployment.env_vars)
        after = _lines(deployment, env, (function.env_vars or {}) if function else {})
        lines = list(
            difflib.unified_diff(before, after, f"deployed {name}", f"{stack.source} {name}", lineterm="", n=2)
        )
        for line in lines:
            colour = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
            out(paint(harmless(line), colour, sys.stdout) if colour else harmless(line))
        differs = differs or bool(lines)
    if not differs:
        note("nothing differs")
    return 1 if differs else 0


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


def _lines(deployment: Deployment, env: Which, other: Mapping[str, str]) -> list[str]:
    shown = {"image": deployment.image, "fprocess": deployment.env_process}
    shown["readonly_root_filesystem"] = str(deployment.read_only_root_filesystem).lower()
    lines = [f"{key}: {value}" for key, value in shown.items()]
    mine = deployment.env_vars if env == "all" else {k: v for k, v in deployment.env_vars.items() if k in other}
    for title, entries in (
        ("environment", mine),
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
