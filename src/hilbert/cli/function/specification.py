"""Flags that describe a function, and the deployment that comes of them."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from hilbert.cli.frame.flags import FlagGroup, flag
from hilbert.cli.frame.parsing import pairs
from hilbert.wire.function import Deployment, ResourceAmounts


class Specification(FlagGroup, frozen=True, kw_only=True):
    """What may be said of a function by flags, for `deploy` and `store deploy` alike."""

    fprocess: Annotated[str, flag("Command that runs the function.", "--fprocess")] = ""
    env: Annotated[tuple[str, ...], flag("Environment variable KEY=VALUE; repeatable.", "--env", "-e")] = ()
    label: Annotated[tuple[str, ...], flag("Label KEY=VALUE; repeatable.", "--label", "-l")] = ()
    annotation: Annotated[tuple[str, ...], flag("Annotation KEY=VALUE; repeatable.", "--annotation")] = ()
    constraint: Annotated[tuple[str, ...], flag("Constraint KEY=VALUE; repeatable.", "--constraint")] = ()
    secret: Annotated[tuple[str, ...], flag("Secret the function may read; repeatable.", "--secret")] = ()
    readonly: Annotated[bool, flag("Make the function's root file system read-only.", "--readonly")] = False
    cpu_request: Annotated[str, flag("Guaranteed CPU, e.g. 100m.", "--cpu-request")] = ""
    cpu_limit: Annotated[str, flag("CPU limit, e.g. 500m.", "--cpu-limit")] = ""
    memory_request: Annotated[str, flag("Guaranteed memory, e.g. 64Mi.", "--memory-request")] = ""
    memory_limit: Annotated[str, flag("Memory limit, e.g. 128Mi.", "--memory-limit")] = ""


UNSAID: Final = Specification()


def over(base: Deployment, said: Specification) -> Deployment:
    """`base` with the flags on top: maps are merged, secrets joined, the rest replaced. Raises `UsageError`."""
    return msgspec.structs.replace(
        base,
        env_process=said.fprocess or base.env_process,
        env_vars={**base.env_vars, **pairs(said.env, "--env")},
        labels={**base.labels, **pairs(said.label, "--label")},
        annotations={**base.annotations, **pairs(said.annotation, "--annotation")},
        constraints=said.constraint or base.constraints,
        secrets=tuple(dict.fromkeys((*base.secrets, *said.secret))),
        limits=_amounts(base.limits, memory=said.memory_limit, cpu=said.cpu_limit),
        requests=_amounts(base.requests, memory=said.memory_request, cpu=said.cpu_request),
        read_only_root_filesystem=said.readonly or base.read_only_root_filesystem,
    )


def _amounts(base: ResourceAmounts | None, *, memory: str, cpu: str) -> ResourceAmounts | None:
    if not memory and not cpu:
        return base
    known = base or ResourceAmounts()
    return msgspec.structs.replace(known, memory=memory or known.memory, cpu=cpu or known.cpu)
