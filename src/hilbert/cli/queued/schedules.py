"""`schedules`: when functions are called by the clock."""

from __future__ import annotations

from typing import Annotated, Final

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape, flag
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.moments import moment_text
from hilbert.cli.terminal.output import columns, harmless, out, warn
from hilbert.cli.terminal.wording import count as count_text

_MOST: Final = 100


def list_schedules(*, namespace: Namespace = "", at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        found = client.list_schedules(namespace, count=1)
    if shape.format != "table":
        write_document(found, shape.format)
        return
    rows = [("FUNCTION", "INDEX", "SCHEDULE", "TIMEZONE", "OVERLAP", "NEXT")]
    rows += [
        (
            one.function,
            str(one.index),
            one.schedule,
            one.timezone,
            one.overlap,
            moment_text(one.next[0]) if one.next else "paused" if one.paused else "never",
        )
        for one in found.schedules
    ]
    for line in columns(rows):
        out(harmless(line))
    for problem in found.problems:
        warn(harmless(f"{problem.function}: {problem.problem}"))


def next_times(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")],
    /,
    *,
    namespace: Namespace = "",
    count: Annotated[int, flag("How many times for each schedule, up to 100.", "--count")] = 5,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if not 1 <= count <= _MOST:
        raise UsageError(f"--count: must be from 1 to {_MOST}")
    name, namespace = split_name(name, namespace)
    with connect(at) as client:
        found = client.list_schedules(namespace, function=name, count=count)
    if shape.format != "table":
        write_document(found, shape.format)
        return
    if not found.schedules and not found.problems:
        raise Failed(
            f"function {full_name(name, namespace)} has no schedule",
            hint='give it one with the annotations topic: cron-function and schedule: "0 9 * * *"',
        )
    times = sorted((moment, one.index, one.schedule) for one in found.schedules for moment in one.next)
    for moment, _, text in times[:count]:
        out(harmless(f"{moment_text(moment)}  {text}"))
    for one in found.schedules:
        if not one.next:
            warn(
                harmless(f"({one.schedule}) {'is paused' if one.paused else 'never comes due in the next five years'}")
            )
    for problem in found.problems:
        warn(harmless(problem.problem))


def pause(name: str, /, *, namespace: Namespace = "", at: Connection = HERE) -> None:
    _pause(name, namespace, at, paused=True)


def resume(name: str, /, *, namespace: Namespace = "", at: Connection = HERE) -> None:
    _pause(name, namespace, at, paused=False)


def run(
    name: str,
    /,
    *,
    namespace: Namespace = "",
    index: Annotated[int | None, flag("Index of the schedule, from 0, if the function has several.", "--index")] = None,
    at: Connection = HERE,
) -> None:
    name, namespace = split_name(name, namespace)
    with connect(at) as client:
        out(harmless(client.run_schedule(name, namespace, index=index)))


def _pause(name: str, namespace: str, at: Connection, *, paused: bool) -> None:
    name, namespace = split_name(name, namespace)
    with connect(at) as client:
        number = client.pause_schedules(name, namespace, paused=paused)
    word = "Paused" if paused else "Resumed"
    out(harmless(f"{word}: {count_text(number, 'schedule')} of {full_name(name, namespace)}"))
